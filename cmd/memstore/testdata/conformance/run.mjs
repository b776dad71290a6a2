// Runs the cache conformance suite in the directory SUITE against the cache at
// BASE, and prints a line of JSON for each test:
//
//   {"id", "suite", "kind", "verdict", "detail"}
//
// kind is required, optimal or check; verdict is pass, fail, or why it could
// not be told. As on cache-tests.fyi a test whose prerequisite did not pass has
// not passed. With IDS only these tests and their prerequisites are run.
//
// usage: node run.mjs SUITE BASE [IDS]
import fs from 'node:fs'
import path from 'node:path'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const [dir, base, only] = process.argv.slice(2)
const load = name => import(pathToFileURL(path.join(dir, name)))
const exists = name => fs.existsSync(path.join(dir, name))

const engine = exists('test-engine') ? 'test-engine/client' : 'client' // newer trees have the former
const suites = [...(await load('tests/index.mjs')).default]
if (exists('tests/surrogate-control.mjs')) { // the package has it, but not in its index
  suites.push((await load('tests/surrogate-control.mjs')).default)
}

const tests = new Map()
for (const suite of suites) for (const test of suite.tests) tests.set(test.id, test)
const wanted = new Set()
const want = id => {
  if (wanted.has(id) || !tests.has(id)) return
  wanted.add(id)
  for (const other of tests.get(id).depends_on || []) want(other)
}
for (const id of only ? only.split(',') : tests.keys()) want(id)
const chosen = suites.map(s => ({ ...s, tests: s.tests.filter(t => wanted.has(t.id)) })).filter(s => s.tests.length > 0)

console.log = console.error // the suite's own words
const { runTests, getResults } = await load(engine + '/runner.mjs')
if (engine === 'client') {
  await runTests(chosen, createRequire(path.join(dir, 'package.json'))('node-fetch'), false, base)
} else {
  await runTests(chosen, false, base)
}
const results = getResults()

const verdicts = new Map()
const verdict = id => {
  if (!verdicts.has(id)) verdicts.set(id, judge(id))
  return verdicts.get(id)
}
const judge = id => {
  const result = results[id]
  if (result === undefined) return 'untested'
  if ((tests.get(id).depends_on || []).some(other => verdict(other) !== 'pass')) return 'dependency'
  if (result === true) return 'pass'
  if (!Array.isArray(result)) return 'harness'
  if (result[0] === 'Assertion') return 'fail'
  return result[0] === 'Setup' ? 'setup' : 'harness'
}
for (const suite of chosen) {
  for (const test of suite.tests) {
    if (test.browser_only) continue
    const result = results[test.id]
    process.stdout.write(JSON.stringify({
      id: test.id,
      suite: suite.id,
      kind: test.kind || 'required',
      verdict: verdict(test.id),
      detail: Array.isArray(result) ? String(result[1]) : ''
    }) + '\n')
  }
}

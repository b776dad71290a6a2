// Given to node with --require: what listens on no address in particular
// listens on loopback only.
const net = require('node:net')
const listen = net.Server.prototype.listen
net.Server.prototype.listen = function (port, host, ...rest) {
  return typeof host === 'string' ? listen.call(this, port, host, ...rest) : listen.call(this, Number(port), '127.0.0.1', host, ...rest)
}

# Everything here sets itself up: Go is all that a fresh Debian or Ubuntu needs.

GO          ?= go
VERSION     ?=
STATICCHECK  = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK  = golang.org/x/vuln/cmd/govulncheck@v1.1.4
FUZZTIME    ?= 30s
KILLS       ?= 300
CUTS        ?= 50
TESTFLAGS   ?=

LDFLAGS = -s -w -buildid=$(if $(VERSION), -X main.release=$(VERSION))

.DEFAULT_GOAL := build
.PHONY: build run setup test check lint race vuln bench bench-files bench-cdn soak interop-rclone interop-swift crash powercut cdn-race cdn-crash fuzz clean

build: ## one static binary, bin/memstore
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags='$(LDFLAGS)' -o bin/memstore ./cmd/memstore

run: setup build ## a server on loopback, with its data in .run/
	@exec ./bin/memstore serve --data .run --cdn 127.0.0.1:8088 --sftp 127.0.0.1:2022 --ftp 127.0.0.1:2121

setup: ## the client programs that the printed commands and the tests use
	@./.ci/setup

test: setup ## everything that proves the product works; CI=true skips nothing
	$(GO) test $(TESTFLAGS) -timeout 30m ./...

check: lint race ## what must pass at every commit

lint:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not gofmt'ed:" $$unformatted; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

race: setup
	$(GO) test -race -short -timeout 30m ./...

vuln: ## known holes in what we call
	$(GO) run $(GOVULNCHECK) ./...

bench: setup ## against a real OpenStack Swift on the same disk
	$(GO) run ./internal/bench

bench-files: setup ## the doors for files against OpenSSH, vsftpd and proftpd on the same disk; needs root
	$(GO) run ./internal/bench/files

bench-cdn: setup ## the edge against nginx and Varnish, which it installs, and a bare server of Go's
	@./.ci/setup bench-cdn
	$(GO) run ./internal/bench/edge

soak: setup ## 6 GiB by each door, cut and resumed; takes room for 20 GiB and an hour
	$(GO) test ./cmd/memstore -run '^TestSoak$$' -v -timeout 4h -soak 6144

interop-rclone: setup ## rclone's own tests of its ftp and sftp backends
	./.ci/interop-rclone

interop-swift: setup ## the tests that rclone, ncw/swift and gophercloud bring along for Swift
	./.ci/interop-swift

crash: ## hundreds of kills at random points, with an oracle of what was acknowledged
	$(GO) run ./internal/crash kill -n $(KILLS)

cache-conformance: setup ## the public suite for HTTP caches; CACHE_TESTS=DIR is a newer tree of it
	$(GO) test ./cmd/memstore -run 'TestCacheConformance|TestConformanceReasons' -count=1 -v -timeout 15m

powercut: ## the file system cut off in full flight; needs root
	$(GO) run ./internal/crash powercut -fs ext4,xfs -n $(CUTS)

cdn-race: setup ## writers by all doors and readers at two edges, for a minute
	$(GO) test ./cmd/memstore -run TestCDNRace -cdn-race 1m -v

cdn-crash: setup ## the edge killed 20 times while it fills, and every byte of what it then has compared
	$(GO) test ./cmd/memstore -run TestEdgeOutlivesKills -cdn-kills 20 -count=1 -v

fuzz: ## every fuzz test for FUZZTIME
	@set -e; for dir in $$($(GO) list -f '{{.Dir}}' ./...); do \
		for f in $$(cat $$dir/*_test.go 2>/dev/null | sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p'); do \
			echo "$$dir $$f"; (cd $$dir && $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) .); \
		done; \
	done

clean:
	rm -rf bin .run

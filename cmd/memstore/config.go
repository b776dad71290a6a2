package main

import (
	"os"
	"path/filepath"
	"time"
)

// Config is everything that can be set. The comments of its fields are the
// manual: docs/configuration.md and deploy/memstore.yaml are made from them,
// and a test keeps them equal.
type Config struct {
	// The directory that holds everything Memstore keeps: objects, users, and
	// the socket by which its own commands reach a running server. It is made
	// if it does not exist. One server at a time may use it.
	Data string `yaml:"data" env:"DATA" flag:"data"`

	// What keeps the objects: "disk" is the embedded engine; "memory" forgets
	// everything at exit and is meant for demonstrations and for testing
	// clients. Users are kept in the data directory in either case.
	Backend string `yaml:"backend" env:"BACKEND" flag:"backend"`

	// How much memory the garbage collector aims to stay under, as in "256MiB",
	// 32MiB or more; 0 leaves it to GOMEMLIMIT. It is a target and not a wall: what clients
	// have in flight is allocated beyond it, at the price of more collection.
	Memory Size `yaml:"memory" env:"MEMORY"`

	// How long requests that are running may take to finish after SIGTERM. What
	// is left then is cut off; an upload that was cut off leaves no trace.
	Drain time.Duration `yaml:"drain" env:"DRAIN"`

	// How long what arrived of an upload by FTP or SFTP that was cut off is kept
	// for its user, who alone sees it and may resume it. 0 keeps nothing.
	Partial time.Duration `yaml:"partial" env:"PARTIAL"`

	// How often objects whose X-Delete-At has come are removed. They cannot be
	// read any more from that moment on; this is when their space comes back.
	Sweep time.Duration `yaml:"sweep" env:"SWEEP"`

	Log         LogConfig         `yaml:"log"`
	FirstUser   FirstUserConfig   `yaml:"first_user"`
	Tokens      TokensConfig      `yaml:"tokens"`
	Bans        BansConfig        `yaml:"bans"`
	Connections ConnectionsConfig `yaml:"connections"`
	Gateway     GatewayConfig     `yaml:"gateway"`
	Swift       SwiftConfig       `yaml:"swift"`
	FTP         FTPConfig         `yaml:"ftp"`
	SFTP        SFTPConfig        `yaml:"sftp"`
	CDN         CDNConfig         `yaml:"cdn"`
	Admin       AdminConfig       `yaml:"admin"`
	Disk        DiskConfig        `yaml:"disk"`
	Encryption  EncryptionConfig  `yaml:"encryption"`
}

// LogConfig is about what is logged, to standard error.
type LogConfig struct {
	// The least serious messages to log: "debug", "info", "warn" or "error".
	// Reloaded on SIGHUP.
	Level string `yaml:"level" env:"LOG_LEVEL" flag:"log-level"`

	// "json" writes one JSON object per line, "text" lines for the eye; "auto"
	// is text on a terminal and JSON everywhere else.
	Format string `yaml:"format" env:"LOG_FORMAT"`
}

// FirstUserConfig is about the user that serve makes while there are no users.
type FirstUserConfig struct {
	// Name of the first user, "account:user". He is the admin of his account.
	// Once any user exists it is ignored. Empty makes none.
	Name string `yaml:"name" env:"USER"`

	// His password, of 6 characters or more. Empty generates one and prints it,
	// once.
	Password Secret `yaml:"password" env:"PASSWORD"`
}

// TokensConfig is about the tokens that a login gives out.
type TokensConfig struct {
	// How long a token is good for. Disabling its user or changing his password
	// ends it at once.
	Life time.Duration `yaml:"life" env:"TOKEN_LIFE"`
}

// BansConfig is about addresses that guess passwords. They count for all doors.
type BansConfig struct {
	// How many failures within the window ban an address; of IPv6 a /64 counts
	// as one. A login that fails is one failure, whether the user exists or not;
	// one that succeeds is none.
	Limit int `yaml:"limit" env:"BANS_LIMIT"`

	// How long a failure counts.
	Window time.Duration `yaml:"window" env:"BANS_WINDOW"`

	// How long the first ban of an address lasts. Each further one is half as
	// long again, up to a day. "memstore ban lift" ends one at once.
	Length time.Duration `yaml:"length" env:"BANS_LENGTH"`

	// Networks that are never banned. The default is the machine itself: behind
	// a proxy on it, set gateway.proxies, or nobody is ever banned.
	Allow Networks `yaml:"allow" env:"BANS_ALLOW"`
}

// ConnectionsConfig is about how many connections clients may have. Those
// beyond are closed as soon as they are made.
type ConnectionsConfig struct {
	// Connections at once, over all doors. 0 makes it from the files that the
	// process may have open (ulimit -n), a part of which is always kept for the
	// engine and for what requests read and write; at most 10000.
	Max int `yaml:"max" env:"CONNECTIONS_MAX"`

	// Connections at once from one address; of IPv6 a /64 counts as one. The
	// machine itself, gateway.proxies, ftp.proxies and sftp.proxies are
	// exempt. 0 is a quarter of all, and at most 1024.
	PerSource int `yaml:"per_source" env:"CONNECTIONS_PER_SOURCE"`
}

// GatewayConfig is the door that speaks the OpenStack Swift API.
type GatewayConfig struct {
	// Address to listen on, as in "127.0.0.1:8080", or ":8080" for all
	// addresses of the machine. Port 0 picks a free one and prints it. Empty
	// keeps the door closed.
	Listen string `yaml:"listen" env:"GATEWAY" flag:"gateway"`

	// Where clients reach the door, as in "https://store.example.com", if that
	// is not where it listens: behind a proxy, say. Logins answer with it. Empty
	// answers with the host that the client asked for.
	URL string `yaml:"url" env:"GATEWAY_URL"`

	// The networks of the proxies that stand before this door, as in
	// "10.0.0.5, 192.168.0.0/24". They are believed whom a request is from
	// (X-Forwarded-For), which bans and the networks of users go by, and that it
	// came by HTTPS (X-Forwarded-Proto). Nobody else is. Empty trusts none.
	Proxies Networks `yaml:"proxies" env:"GATEWAY_PROXIES"`

	// File with a certificate chain, in PEM. With it and its key set the door
	// speaks HTTPS only: TLS 1.2 with AEAD ciphers, or 1.3. Read again on
	// SIGHUP.
	Certificate string `yaml:"certificate" env:"GATEWAY_CERTIFICATE"`

	// File with the private key of the certificate, in PEM. Read again on
	// SIGHUP.
	Key string `yaml:"key" env:"GATEWAY_KEY"`

	// The largest object that one PUT may send, as OpenStack Swift limits it.
	MaxObject Size `yaml:"max_object" env:"GATEWAY_MAX_OBJECT"`

	// The fewest bytes per second that an upload may come with, on average over
	// a minute of waiting for it; one that is slower is given up with 408, like
	// one of which nothing comes for a minute. 0 lets it come as it will.
	SlowestUpload Size `yaml:"slowest_upload" env:"GATEWAY_SLOWEST_UPLOAD"`
}

// SwiftConfig is what the Swift API has beyond storing and fetching.
type SwiftConfig struct {
	// The hashes that signed URLs and forms may be signed with, of "sha1",
	// "sha256" and "sha512". sha1 is for clients that know no other.
	Digests string `yaml:"digests" env:"SWIFT_DIGESTS"`

	// What the storage policies are called, with commas between them, the default
	// first. A container is made under one and keeps it; all objects are kept
	// alike. Empty is "Policy-0" alone.
	Policies string `yaml:"policies" env:"SWIFT_POLICIES"`

	// Whether every change is refused, of whomever.
	ReadOnly bool `yaml:"read_only" env:"SWIFT_READ_ONLY"`

	// Domains beneath which hosts stand for accounts and containers, as in
	// "store.example.com": there pics.AUTH-ann.store.example.com is the container
	// pics of the account ann.
	Domains string `yaml:"domains" env:"SWIFT_DOMAINS"`

	// Whether hosts outside these domains are looked up, and followed if they are
	// an alias (CNAME) of one within. Others are refused then, but for addresses
	// and the host of gateway.url.
	Aliases bool `yaml:"aliases" env:"SWIFT_ALIASES"`

	// Hosts that containers may name to be synchronised to, with commas between
	// them. It is kept and told; nothing is sent.
	SyncHosts string `yaml:"sync_hosts" env:"SWIFT_SYNC_HOSTS"`

	// What /crossdomain.xml says, as in
	// <allow-access-from domain="*.example.com" />. Empty is no such document.
	CrossDomain string `yaml:"cross_domain" env:"SWIFT_CROSS_DOMAIN"`

	// The secret that requests for the operators' part of /info are signed with.
	// Empty keeps it to itself.
	InfoKey Secret `yaml:"info_key" env:"SWIFT_INFO_KEY"`

	// How many containers of one account may be made and removed in a second.
	// Beyond it requests wait, and are refused with 498 where that takes too long.
	// 0 is any number.
	ContainerRate int `yaml:"container_rate" env:"SWIFT_CONTAINER_RATE"`

	// How many objects of one container may be changed in a second, by how many
	// there are in it, as in "100000=100, 1000000=20": none of a smaller one is
	// held up, and between the sizes is a line. Empty is any number.
	ObjectRates string `yaml:"object_rates" env:"SWIFT_OBJECT_RATES"`

	// The same for listings.
	ListingRates string `yaml:"listing_rates" env:"SWIFT_LISTING_RATES"`

	// How long a request may wait for its turn.
	RateWait time.Duration `yaml:"rate_wait" env:"SWIFT_RATE_WAIT"`

	// Characters that no name may have, although the store could keep them.
	ForbiddenCharacters string `yaml:"forbidden_characters" env:"SWIFT_FORBIDDEN_CHARACTERS"`

	// A regular expression that no path, "/v1/AUTH_ann/c/o", may match. Empty is
	// none.
	ForbiddenPattern string `yaml:"forbidden_pattern" env:"SWIFT_FORBIDDEN_PATTERN"`
}

// FTPConfig is the door for FTP and FTPS.
type FTPConfig struct {
	// Address to listen on, as in "127.0.0.1:2121", or ":21" for all addresses of
	// the machine. Clients speak TLS when they ask for it (AUTH TLS). Port 0 picks
	// a free one and prints it. Empty keeps the door closed.
	Listen string `yaml:"listen" env:"FTP" flag:"ftp"`

	// Address to listen on for clients that begin with TLS, as on port 990. Empty
	// keeps it closed.
	Implicit string `yaml:"implicit" env:"FTPS" flag:"ftps"`

	// File with a certificate chain, in PEM. With none set it is the gateway's,
	// and if that has none a certificate of our own: made at the first start, kept
	// in keys/ in the data directory, vouched for by nobody. Read again on SIGHUP.
	Certificate string `yaml:"certificate" env:"FTP_CERTIFICATE"`

	// File with the private key of that certificate, in PEM. Read again on SIGHUP.
	Key string `yaml:"key" env:"FTP_KEY"`

	// Who must speak TLS: "passwords" is everybody who logs in, but for those on
	// the machine itself; "always" is everybody, for data too; "never" leaves it
	// to the clients, whose passwords anybody on the way can read then.
	TLS string `yaml:"tls" env:"FTP_TLS"`

	// The ports for data connections, as in "50000-50100", which a firewall must
	// let in. Each transfer needs one. Empty is any port.
	Passive string `yaml:"passive" env:"FTP_PASSIVE"`

	// The IPv4 address, or a name that has one, by which clients reach the
	// machine, if there is a router in front of it that translates addresses.
	// Empty is the address that the client has reached.
	Public string `yaml:"public" env:"FTP_PUBLIC"`

	// What public is for clients of certain networks, as in
	// "10.0.0.0/8=10.0.0.5, 192.168.0.0/16=", where the narrowest network holds
	// and an empty address is the one that the client has reached.
	PublicFor string `yaml:"public_for" env:"FTP_PUBLIC_FOR"`

	// Networks of proxies, as in "10.0.0.7, 10.1.0.0/16", whose connections must
	// begin with a header of the PROXY protocol; those of others must not.
	Proxies Networks `yaml:"proxies" env:"FTP_PROXIES"`

	// How long a connection may say nothing, transfers aside, until it is ended.
	// 0 is for ever.
	Idle time.Duration `yaml:"idle" env:"FTP_IDLE"`

	// How long no byte of a transfer need move until it is ended. 0 is for ever.
	Stalled time.Duration `yaml:"stalled" env:"FTP_STALLED"`

	// How many connections may be logged in. 0 is no limit.
	MaxConnections int `yaml:"max_connections" env:"FTP_MAX_CONNECTIONS"`

	// How many of these may come from one address, or /64 of IPv6. 0 is no limit.
	MaxPerAddress int `yaml:"max_per_address" env:"FTP_MAX_PER_ADDRESS"`

	// How many of these may be of one user. 0 is no limit.
	MaxPerUser int `yaml:"max_per_user" env:"FTP_MAX_PER_USER"`
}

// SFTPConfig is the door for SFTP and scp.
type SFTPConfig struct {
	// Address to listen on, as in "127.0.0.1:2022", or ":22" for all addresses of
	// the machine. Port 0 picks a free one and prints it. Empty keeps the door
	// closed.
	Listen string `yaml:"listen" env:"SFTP" flag:"sftp"`

	// The directory of the host keys, named as OpenSSH names them
	// (ssh_host_ed25519_key …), so that those of an sshd can move here. Keys that
	// are missing are made. Empty is keys/ in the data directory.
	HostKeys string `yaml:"host_keys" env:"SFTP_HOST_KEYS"`

	// Whether to offer besides today's algorithms what older clients cannot do
	// without (curl with libssh2 before 1.11, JSch).
	Compatible bool `yaml:"compatible" env:"SFTP_COMPATIBLE"`

	// Networks of proxies, as in "10.0.0.7, 10.1.0.0/16", whose connections must
	// begin with a header of the PROXY protocol. Nobody else is believed.
	Proxies Networks `yaml:"proxies" env:"SFTP_PROXIES"`

	// How long a connection may move no data until it is ended. 0 is for ever.
	Idle time.Duration `yaml:"idle" env:"SFTP_IDLE"`

	// How many connections may be logged in. 0 is no limit.
	MaxConnections int `yaml:"max_connections" env:"SFTP_MAX_CONNECTIONS"`

	// How many of these may come from one address, or /64 of IPv6. 0 is no limit.
	MaxPerAddress int `yaml:"max_per_address" env:"SFTP_MAX_PER_ADDRESS"`

	// How many of these may be of one user. 0 is no limit.
	MaxPerUser int `yaml:"max_per_user" env:"SFTP_MAX_PER_USER"`
}

// CDNConfig is the edge that serves public containers to browsers.
type CDNConfig struct {
	// Address to listen on, as in "127.0.0.1:8081", or ":80" for all addresses of
	// the machine. Port 0 picks a free one and prints it. Empty keeps the door
	// closed.
	Listen string `yaml:"listen" env:"CDN" flag:"cdn"`

	// What the host names of containers end with, as in "cdn.example.com", whose
	// names must all lead here: CONTAINER.ID.cdn.example.com, and
	// CONTAINER-ID.cdn.example.com, which one wildcard certificate covers. With a
	// port, as in "cdn.example.com:8081", if browsers must be told one. Empty is
	// cdn.localhost, which browsers look for on their own machine, and the port of
	// listen. With a domain and no address the edges are on other machines only.
	Domain string `yaml:"domain" env:"CDN_DOMAIN"`

	// Address to listen on for HTTPS, as in ":443": HTTP/1.1 and HTTP/2, and
	// HTTP/3 on the same port of UDP. Port 0 picks a free one and prints it. Empty
	// keeps it closed.
	Secure string `yaml:"secure" env:"CDN_SECURE" flag:"cdn-tls"`

	// Whether HTTP/3 is spoken where HTTPS is.
	HTTP3 bool `yaml:"http3" env:"CDN_HTTP3"`

	// File with a certificate chain, in PEM, for the domain and the names one
	// label below it ("*.cdn.example.com"). With none set it is one of our own:
	// made at the first start, kept in keys/ in the data directory, vouched for by
	// nobody. Read again when it changes.
	Certificate string `yaml:"certificate" env:"CDN_CERTIFICATE"`

	// File with the private key of that certificate, in PEM. Read again when it
	// changes.
	Key string `yaml:"key" env:"CDN_KEY"`

	// The URL of an authority's ACME directory, as in
	// "https://acme-v02.api.letsencrypt.org/directory", whose terms you agree to by
	// naming it: certificates for the domains of containers
	// (X-Container-Meta-Cdn-Domains) that lead here are got from it when the first
	// browser comes, and for names below the domain that no certificate file
	// covers. It comes to port 443, or to port 80, of those names. What it signs is
	// kept in keys/certificates/ in the data directory. Empty gets none.
	ACME string `yaml:"acme" env:"CDN_ACME"`

	// Where that authority may write to.
	ACMEEmail string `yaml:"acme_email" env:"CDN_ACME_EMAIL"`

	// File with the certificates, in PEM, that the authority is known by, if it is
	// one of your own. Empty is those of the system.
	ACMERoots string `yaml:"acme_roots" env:"CDN_ACME_ROOTS"`

	// Whether browsers are spoken to by HTTPS, by a proxy in front of the door:
	// then the addresses that owners are told say so.
	HTTPS bool `yaml:"https" env:"CDN_HTTPS"`

	// Requests per second of one address, over a while, or of a /64 of IPv6; four
	// times as many may come at once, and those beyond are answered 429. The
	// machine itself and gateway.proxies are exempt. 0 is no limit.
	Requests int `yaml:"requests" env:"CDN_REQUESTS"`

	// The fewest bytes per second that a browser may take an answer with, beyond
	// half a minute in which it need take nothing.
	Slowest Size `yaml:"slowest" env:"CDN_SLOWEST"`

	// The name of this edge in what it tells of itself to browsers (Cache-Status,
	// Via). Edges that ask one another must have different ones. Empty is
	// "Memstore".
	Name string `yaml:"name" env:"CDN_NAME"`

	// The directory of what is held on disk. It can be deleted while no server
	// runs. Empty is cdn/ in the data directory.
	Dir string `yaml:"dir" env:"CDN_DIR"`

	// Memory for what is small and asked for often.
	Memory Size `yaml:"memory" env:"CDN_MEMORY"`

	// Disk for the rest.
	Disk Size `yaml:"disk" env:"CDN_DISK"`

	// How long browsers keep an object that says nothing of it, in a container
	// that says nothing either (X-Container-Meta-Cdn-Ttl). Edges ask again after
	// that time only if they cannot hear of changes.
	TTL time.Duration `yaml:"ttl" env:"CDN_TTL"`

	// How long a part of an access log is, for containers that have
	// X-Log-Retention on: a part is delivered into .CDN_ACCESS_LOGS of their
	// account when its time is over. Parts begin at full multiples of it. From a
	// minute to an hour.
	LogEvery time.Duration `yaml:"log_every" env:"CDN_LOG_EVERY"`
}

// AdminConfig is the door for those who look after the server.
type AdminConfig struct {
	// Address to serve /metrics, /healthz and /readyz on. It asks nobody who he
	// is, so keep it on loopback or on a private network. Empty keeps the door
	// closed.
	Listen string `yaml:"listen" env:"ADMIN" flag:"admin"`
}

// DiskConfig is about the embedded engine.
type DiskConfig struct {
	// Memory for the index's cache. It is part of what memory counts, and must be
	// less.
	Cache Size `yaml:"cache" env:"DISK_CACHE"`

	// Free space that uploads must leave on the file system; below it they are
	// refused with 507 while everything else goes on. 0 is 2 % of it, or what
	// the index may need and 1 GiB, if that is more.
	Reserve Size `yaml:"reserve" env:"DISK_RESERVE"`

	// A file of this size takes up room that the index is given if others have
	// filled the disk all the same, so that deletes stay possible; 0 is none.
	Ballast Size `yaml:"ballast" env:"DISK_BALLAST"`

	// Which reads of large objects are held against their checksums: "recent"
	// checks a block that was not checked within ten minutes and sends what was
	// without copying it, "always" checks every block, and "never" leaves it to
	// the scrubber.
	Verify string `yaml:"verify" env:"DISK_VERIFY"`

	// What is made durable before a client is told that it is stored: "full" is
	// everything, as it must be; "files" leaves out the directories and "none"
	// is nothing at all. The other two lose data in a power cut, and are there
	// so that tests can prove it.
	Sync string `yaml:"sync" env:"DISK_SYNC"`

	// How many bytes per second the scrubber re-reads to find what rotted;
	// 0 turns it off.
	Scrub Size `yaml:"scrub" env:"DISK_SCRUB"`
}

// EncryptionConfig is about encryption at rest: without a key, objects in the
// data directory and in backups of it cannot be read.
type EncryptionConfig struct {
	// File with the keys that objects are encrypted with. It must not lie in the
	// data directory. If it does not exist, and nothing is encrypted yet, it is
	// made with a new key: keep a copy of it, since without it nobody can read
	// what is encrypted. Empty encrypts nothing.
	KeyFile string `yaml:"key_file" env:"ENCRYPTION_KEY_FILE"`

	// Whether what is stored from now on is encrypted. What is there already stays
	// as it is, and can be read either way; the keys are needed as long as any of
	// it is encrypted.
	Encrypt bool `yaml:"encrypt" env:"ENCRYPTION_ENCRYPT"`
}

// Defaults is what holds where nothing is said.
func Defaults() Config {
	return Config{
		Data:      defaultData(),
		Backend:   "disk",
		Memory:    224 << 20,
		Drain:     30 * time.Second,
		Partial:   24 * time.Hour,
		Sweep:     5 * time.Second,
		Log:       LogConfig{Level: "info", Format: "auto"},
		FirstUser: FirstUserConfig{Name: "demo:admin"},
		Tokens:    TokensConfig{Life: 24 * time.Hour},
		Bans:      BansConfig{Limit: 15, Window: 30 * time.Minute, Length: 30 * time.Minute, Allow: "127.0.0.0/8, ::1/128"},
		Gateway:   GatewayConfig{Listen: "127.0.0.1:8080", MaxObject: 5<<30 + 2, SlowestUpload: 100},
		CDN:       CDNConfig{HTTP3: true, Requests: 1000, Slowest: 1 << 10, Memory: 64 << 20, Disk: 4 << 30, TTL: 72 * time.Hour, LogEvery: time.Hour},
		Swift:     SwiftConfig{Digests: "sha256, sha512", RateWait: time.Minute},
		Disk:      DiskConfig{Cache: 64 << 20, Ballast: 256 << 20, Verify: "recent", Sync: "full", Scrub: 10 << 20},
		FTP: FTPConfig{TLS: "passwords", Idle: 15 * time.Minute, Stalled: time.Minute,
			MaxConnections: 10_000, MaxPerAddress: 256, MaxPerUser: 256},
		SFTP: SFTPConfig{Idle: 15 * time.Minute,
			MaxConnections: 10_000, MaxPerAddress: 256, MaxPerUser: 256},
		Encryption: EncryptionConfig{Encrypt: true},
	}
}

// defaultData is where a user's programs keep their data, or "" if that cannot
// be told, as in a bare container.
func defaultData() string {
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "memstore")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".local", "share", "memstore")
}

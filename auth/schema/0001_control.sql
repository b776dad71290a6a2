-- The control database: who may log in, and what the logins of all doors have
-- in common. Times are microseconds since 1970, secrets of our own base64, and
-- the statements are those that SQLite and PostgreSQL share.

-- +goose Up
CREATE TABLE accounts (
    name     TEXT    NOT NULL PRIMARY KEY,
    disabled BOOLEAN NOT NULL DEFAULT FALSE,
    created  BIGINT  NOT NULL
);
-- Names that differ in case only would be mistaken for each other.
CREATE UNIQUE INDEX accounts_alike ON accounts (lower(name));

CREATE TABLE users (
    name      TEXT    NOT NULL PRIMARY KEY,            -- account:user
    account   TEXT    NOT NULL REFERENCES accounts (name),
    role      TEXT    NOT NULL,                        -- user, admin, reseller-reader, reseller-admin
    read_only BOOLEAN NOT NULL DEFAULT FALSE,
    disabled  BOOLEAN NOT NULL DEFAULT FALSE,
    password  TEXT    NOT NULL DEFAULT '',             -- argon2id or bcrypt; empty lets no password in
    epoch     BIGINT  NOT NULL,                        -- grows with every change; tokens carry it
    doors     TEXT    NOT NULL DEFAULT '',             -- comma list; empty is every door
    networks  TEXT    NOT NULL DEFAULT '',             -- comma list of CIDR; empty is from anywhere
    created   BIGINT  NOT NULL
);
CREATE UNIQUE INDEX users_alike ON users (lower(name));
CREATE INDEX users_of_account ON users (account);

CREATE TABLE ssh_keys (
    user_name   TEXT   NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    fingerprint TEXT   NOT NULL,                       -- SHA256:…
    public_key  TEXT   NOT NULL,                       -- as in authorized_keys, without the comment
    remark      TEXT   NOT NULL DEFAULT '',
    created     BIGINT NOT NULL,
    PRIMARY KEY (user_name, fingerprint)
);

CREATE TABLE token_keys (
    id      TEXT   NOT NULL PRIMARY KEY,
    secret  TEXT   NOT NULL,
    created BIGINT NOT NULL
);

-- Tokens ended before their time, until that time.
CREATE TABLE revoked_tokens (
    id      TEXT   NOT NULL PRIMARY KEY,
    expires BIGINT NOT NULL
);
CREATE INDEX revoked_tokens_expires ON revoked_tokens (expires);

CREATE TABLE bans (
    source TEXT    NOT NULL PRIMARY KEY,               -- an address, or the /64 of an IPv6 one
    since  BIGINT  NOT NULL,
    until  BIGINT  NOT NULL,
    times  INTEGER NOT NULL                            -- how often it was banned; the next ban is longer
);

-- Counters by which a process sees what another one changed.
CREATE TABLE changed (
    what TEXT   NOT NULL PRIMARY KEY,
    n    BIGINT NOT NULL
);
INSERT INTO changed (what, n) VALUES ('users', 0), ('tokens', 0), ('bans', 0);

-- +goose Down
DROP TABLE changed;
DROP TABLE bans;
DROP TABLE revoked_tokens;
DROP TABLE token_keys;
DROP TABLE ssh_keys;
DROP TABLE users;
DROP TABLE accounts;

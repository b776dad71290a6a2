-- What the edges of the CDN need: the short names of accounts in their URLs,
-- and the keys of edges on other machines.

-- +goose Up
-- A short name is never given to another account, also when its own is gone:
-- links and domains that point to it would show what somebody else put there.
CREATE TABLE cdn_accounts (
    id      TEXT   NOT NULL PRIMARY KEY,               -- 8 hexadecimal digits
    account TEXT   NOT NULL UNIQUE,                    -- a storage account, AUTH_ann
    created BIGINT NOT NULL
);

CREATE TABLE edge_keys (
    name    TEXT   NOT NULL PRIMARY KEY,
    hash    TEXT   NOT NULL UNIQUE,                    -- SHA-256 of the key, in hexadecimal
    created BIGINT NOT NULL
);

INSERT INTO changed (what, n) VALUES ('edges', 0);

-- +goose Down
DELETE FROM changed WHERE what = 'edges';
DROP TABLE edge_keys;
DROP TABLE cdn_accounts;

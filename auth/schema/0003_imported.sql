-- The hash that a user was imported with and that a better one of the same
-- password has replaced, so that importing it again changes nothing.

-- +goose Up
ALTER TABLE users ADD COLUMN imported TEXT NOT NULL DEFAULT ''; -- SHA-256 of the hash, in hexadecimal

-- +goose Down
ALTER TABLE users DROP COLUMN imported;

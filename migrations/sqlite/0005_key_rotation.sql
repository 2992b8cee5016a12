-- Signing keys that follow each other: published before they sign, and for a while after.

ALTER TABLE signing_keys ADD COLUMN activated_ms INTEGER;

UPDATE signing_keys SET activated_ms = created_ms WHERE state = 'active';

-- Two replicas that find a rotation due must not make two keys.
CREATE UNIQUE INDEX signing_keys_one_next ON signing_keys (state) WHERE state = 'next';

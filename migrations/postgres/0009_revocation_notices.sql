-- Who listens is told when the revocation log has grown, at the commit, and need not wait for the next look at it.

-- A trigger and no statement of the gateway: it costs no round trip while the counter is locked, and nobody who appends can forget it.
CREATE FUNCTION tell_of_revocations() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_catalog.pg_notify('portcullis_revocations', '');
    RETURN NULL;
END
$$;

-- Once for a statement: a role that is changed takes back the tokens of all who have it.
CREATE TRIGGER revocations_told AFTER INSERT ON revocations
    FOR EACH STATEMENT EXECUTE FUNCTION tell_of_revocations();

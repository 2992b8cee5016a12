-- PostgreSQL tells who listens when the revocation log has grown. SQLite cannot, and nothing changes here.
SELECT 1;

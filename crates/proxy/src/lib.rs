//! How Pingora carries it out.

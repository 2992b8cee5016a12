//! How a caller gets a token.

//! What reviewers should not have to look for: rules of the house that a program can check.

// Marked one by one so that clippy knows the helpers among them for test code, too.
#[cfg(test)]
mod code;
#[cfg(test)]
mod configuration;
#[cfg(test)]
mod deployments;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod findings;

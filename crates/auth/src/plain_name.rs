//! Names that an operator gives to roles, tenants and clients: short, and the same in a shell, a path, a header and a log.
//! They are compared exactly.

const MAX_BYTES: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it has 1 to {MAX_BYTES} of the characters a-z, A-Z, 0-9, `.`, `_` and `-`, and no dots alone"
)]
pub struct BadName;

/// As names are written in the configuration.
pub(crate) fn check(name: &str) -> Result<(), BadName> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let is_path_step = name.bytes().all(|byte| byte == b'.');
    if (1..=MAX_BYTES).contains(&name.len()) && name.bytes().all(allowed) && !is_path_step {
        Ok(())
    } else {
        Err(BadName)
    }
}

/// A tenant as it can stand in a path segment.
pub fn check_tenant(tenant: &str) -> Result<(), TenantError> {
    check(tenant).map_err(TenantError)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of a tenant: {0}")]
pub struct TenantError(BadName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_stand_in_a_shell_in_a_path_and_in_a_log() {
        for name in ["sidecar", "eu-1.sidecar_2", "example.com", &"x".repeat(64)] {
            assert!(check(name).is_ok(), "{name}");
        }
        for name in [
            "",
            ".",
            "..",
            "a b",
            "a\n",
            "a/b",
            "hotel:read",
            "é",
            &"x".repeat(65),
        ] {
            assert!(check(name).is_err(), "{name:?}");
        }
    }
}

//! A user as others and the user itself may see it. Built field by field: what is added to the table stays inside.

use portcullis_store::{Grant, User};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

/// A user.
#[derive(Serialize, ToSchema)]
pub(crate) struct Profile {
    /// Never changes and never comes back for another user.
    id: String,
    username: Option<String>,
    email: Option<String>,
    /// Somebody has read what was sent there.
    email_verified: bool,
    display_name: Option<String>,
    /// The names of all roles, sorted.
    roles: Vec<String>,
    /// The same roles with the tenants that they hold in.
    grants: Vec<ProfileGrant>,
    /// The tenant that the user belongs to.
    tenant: Option<String>,
    disabled: bool,
    /// RFC 3339, in UTC.
    created_at: String,
}

/// A role of a user.
#[derive(Serialize, ToSchema)]
struct ProfileGrant {
    role: String,
    /// Where it holds; null where the user is at home.
    tenant: Option<String>,
}

impl From<Grant> for ProfileGrant {
    fn from(grant: Grant) -> Self {
        Self {
            role: grant.role,
            tenant: grant.tenant,
        }
    }
}

impl From<User> for Profile {
    fn from(user: User) -> Self {
        Self {
            roles: user.roles().into_iter().map(str::to_owned).collect(),
            grants: user.grants.into_iter().map(ProfileGrant::from).collect(),
            tenant: user.tenant,
            id: user.id,
            username: user.username,
            email: user.email,
            email_verified: user.email_verified,
            display_name: user.display_name,
            disabled: user.disabled,
            created_at: portcullis_audit::rfc3339(user.created_at),
        }
    }
}

/// For the description of the endpoints.
pub(crate) fn example() -> Value {
    json!({
        "id": "0197f3c2-5a41-7d10-9e2f-6f1d2c3b4a59",
        "username": "saad",
        "email": "saad@example.com",
        "email_verified": true,
        "display_name": null,
        "roles": ["guest"],
        "grants": [{"role": "guest", "tenant": null}],
        "tenant": null,
        "disabled": false,
        "created_at": "2027-01-15T08:00:00.000Z",
    })
}

//! A user as others and the user itself may see it. Built field by field: what is added to the table stays inside.

use portcullis_store::User;
use serde::Serialize;

#[derive(Serialize)]
pub(crate) struct Profile {
    id: String,
    username: Option<String>,
    email: Option<String>,
    display_name: Option<String>,
    roles: Vec<String>,
    disabled: bool,
    created_at: String,
}

impl From<User> for Profile {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            username: user.username,
            email: user.email,
            display_name: user.display_name,
            roles: user.roles,
            disabled: user.disabled,
            created_at: portcullis_audit::rfc3339(user.created_at),
        }
    }
}

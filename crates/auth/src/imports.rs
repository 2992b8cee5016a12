//! Users of another system, taken in with the hashes that it kept of their passwords. They sign in with the password they
//! have, and their first sign-in replaces the hash.
//!
//! All that is said of a user is looked at before anything is written: names by the rules of registration, hashes by what
//! this gateway would run.

use portcullis_audit::Event;
use portcullis_store::{NewUser, PasswordRecord, Store, StoreError, User};
use serde::Deserialize;

use crate::{
    identifiers::{Email, NameError, Username, is_display_name},
    issue::user_party,
    password::{self, ImportBounds, StoredHashError},
    random::{self, NoRandomness},
};

/// A user as a line of a file says it. Deliberately without `Debug`: it holds a hash.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportedUser {
    #[serde(default)]
    pub username: Option<String>,
    #[serde(default)]
    pub email: Option<String>,
    #[serde(default)]
    pub email_verified: bool,
    #[serde(default)]
    pub display_name: Option<String>,
    /// Without one, the user signs in elsewhere or resets the password by mail.
    #[serde(default)]
    pub password_hash: Option<String>,
    /// The default role where absent.
    #[serde(default)]
    pub roles: Option<Vec<String>>,
    #[serde(default)]
    pub tenant: Option<String>,
    #[serde(default)]
    pub disabled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    #[error("{0}")]
    Name(#[from] NameError),
    #[error("a user needs a user name or an e-mail address")]
    Nameless,
    #[error("an address that is verified must be there")]
    NothingVerified,
    #[error(
        "a display name has 1 to 100 characters, no control characters and no blanks around it"
    )]
    DisplayName,
    #[error("{0}")]
    Hash(#[from] StoredHashError),
}

/// Why a user that could be taken in was not.
#[derive(Debug, thiserror::Error)]
pub enum NotImported {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

/// A user who can be taken in.
pub struct Arrival {
    username: Option<Username>,
    email: Option<Email>,
    password: Option<PasswordRecord>,
    said: ImportedUser,
}

impl ImportedUser {
    /// Looks at everything but roles and tenant, which are for the caller to know.
    pub fn check(mut self, bounds: ImportBounds) -> Result<Arrival, ImportError> {
        let username = self.username.as_deref().map(Username::parse).transpose()?;
        let email = self.email.as_deref().map(Email::parse).transpose()?;
        if username.is_none() && email.is_none() {
            return Err(ImportError::Nameless);
        }
        if self.email_verified && email.is_none() {
            return Err(ImportError::NothingVerified);
        }
        let display_name = self.display_name.as_deref();
        if display_name.is_some_and(|name| !is_display_name(name)) {
            return Err(ImportError::DisplayName);
        }
        let hash = self.password_hash.take();
        let password = hash.map(|hash| password::import(&hash, bounds));
        Ok(Arrival {
            username,
            email,
            password: password.transpose()?,
            said: self,
        })
    }
}

impl Arrival {
    /// What no two users may have in common.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let username = self.username.iter().map(Username::key);
        username.chain(self.email.iter().map(Email::key))
    }

    /// `None` where the file says nothing, which means the default.
    pub fn roles(&self) -> Option<&[String]> {
        self.said.roles.as_deref()
    }

    pub fn tenant(&self) -> Option<&str> {
        self.said.tenant.as_deref()
    }
}

/// `created` is the audit event; its time becomes the user's, and its target the new user.
pub async fn import_user(
    store: &Store,
    arrival: &Arrival,
    roles: &[&str],
    created: Event,
) -> Result<User, NotImported> {
    let (username, email) = (arrival.username.as_ref(), arrival.email.as_ref());
    let user = NewUser {
        id: random::row_id(created.at)?,
        username: username.map(|name| name.shown().to_owned()),
        username_key: username.map(|name| name.key().to_owned()),
        email: email.map(|email| email.shown().to_owned()),
        email_key: email.map(|email| email.key().to_owned()),
        display_name: arrival.said.display_name.clone(),
        password: arrival.password.clone(),
        identity: None,
        disabled: arrival.said.disabled,
        email_verified: arrival.said.email_verified,
        tenant: arrival.said.tenant.clone(),
        created_at: created.at,
    };
    let target = user_party(&user.id, user.username.as_deref().or(user.email.as_deref()));
    let event = created.on(target).because("imported");
    Ok(store.create_user(&user, roles, &event).await?)
}

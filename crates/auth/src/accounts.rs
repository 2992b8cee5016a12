//! Making a user: from a name and a password to a row. The registration endpoint and the command line come through
//! here, so that no account is ever made under other rules.

use portcullis_audit::Event;
use portcullis_store::{NewUser, PasswordRecord, Store, StoreError, User};

use crate::{
    identifiers::{Email, NameError, Username},
    issue::user_party,
    password::{Hasher, HashingError, NewPasswordError, Password},
    random::{self, NoRandomness},
    service::AuthService,
};

pub struct NewAccount<'a> {
    pub username: Option<Username>,
    pub email: Option<Email>,
    pub password: Password,
    pub roles: &'a [&'a str],
    /// The tenant that the user belongs to.
    pub tenant: Option<&'a str>,
    pub strength: Strength,
}

/// What is asked of the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    Judged,
    /// For the two users of the demo, whose passwords stand in the documentation.
    Unchecked,
}

#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("an account needs a user name or an e-mail address")]
    Nameless,
    #[error(transparent)]
    Password(#[from] NewPasswordError),
    #[error(transparent)]
    Hashing(#[from] HashingError),
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AuthService {
    /// What to keep of another password for a user who exists; [`create_user`] asks the same of a first one.
    pub(crate) async fn hash_new_password(
        &self,
        password: Password,
        user: &User,
    ) -> Result<PasswordRecord, NewPasswordError> {
        let username = user.username.as_deref().map(Username::parse);
        let email = user.email.as_deref().map(Email::parse);
        let (username, email) = (username.and_then(Result::ok), email.and_then(Result::ok));
        let names = names(username.as_ref(), email.as_ref());
        self.hasher.hash_new(password, names).await
    }
}

fn names(username: Option<&Username>, email: Option<&Email>) -> Vec<String> {
    let username = username.into_iter().map(Username::key);
    let keys = username.chain(email.map(Email::key));
    keys.map(str::to_owned).collect()
}

/// `created` is the audit event; its time becomes the user's, and its target the new user.
pub async fn create_user(
    store: &Store,
    hasher: &Hasher,
    account: NewAccount<'_>,
    created: Event,
) -> Result<User, AccountError> {
    if account.username.is_none() && account.email.is_none() {
        return Err(AccountError::Nameless);
    }
    let password = match account.strength {
        Strength::Judged => {
            let names = names(account.username.as_ref(), account.email.as_ref());
            hasher.hash_new(account.password, names).await?
        }
        Strength::Unchecked => hasher.hash(account.password).await?,
    };
    let user = NewUser {
        id: random::row_id(created.at)?,
        username: account
            .username
            .as_ref()
            .map(|name| name.shown().to_owned()),
        username_key: account.username.map(|name| name.key().to_owned()),
        email: account.email.as_ref().map(|email| email.shown().to_owned()),
        email_key: account.email.map(|email| email.key().to_owned()),
        display_name: None,
        password: Some(password),
        identity: None,
        disabled: false,
        email_verified: false,
        tenant: account.tenant.map(str::to_owned),
        created_at: created.at,
    };
    let target = user_party(&user.id, user.username.as_deref().or(user.email.as_deref()));
    Ok(store
        .create_user(&user, account.roles, &created.on(target))
        .await?)
}

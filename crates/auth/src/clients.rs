//! Clients: programs that get tokens with a secret. We make the secret (32 random bytes), show it once and keep its
//! SHA-256, which is enough for what nobody chose and nobody can guess.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis_audit::{Event, Party, PartyKind};
use portcullis_config::auth::Auth;
use portcullis_store::{Client, NewClient, Store, StoreError};
use portcullis_tokens::ScopeSet;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    plain_name::{self, BadName},
    random::{self, NoRandomness},
    roles::{UnknownScope, check_scopes},
};

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the name of a client: {0}")]
    Name(#[from] BadName),
    #[error("a client needs at least one scope")]
    NoScope,
    #[error(transparent)]
    Scope(#[from] UnknownScope),
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Returns the client with its secret, which is nowhere to be had again. `created` is the audit event; its time becomes
/// the client's, and its target the new client.
pub async fn create_client(
    store: &Store,
    auth: &Auth,
    name: &str,
    scopes: &[String],
    created: Event,
) -> Result<(Client, SecretString), ClientError> {
    plain_name::check(name)?;
    let scopes = known_scopes(auth, scopes)?;
    let secret = SecretString::from(URL_SAFE_NO_PAD.encode(random::bytes::<32>()?));
    let client = NewClient {
        id: random::row_id(created.at)?,
        name: name.to_owned(),
        secret_hash: hash(secret.expose_secret()),
        scopes: scopes.line().to_owned(),
        created_at: created.at,
    };
    let target = client_party(&client.id, name);
    let client = store.create_client(&client, &created.on(target)).await?;
    Ok((client, secret))
}

/// A client as the audit log names it.
pub fn client_party(id: &str, name: &str) -> Party {
    Party::new(PartyKind::Client, id).named(name)
}

/// Takes as long for a client that does not exist.
pub(crate) fn is_secret_of(kept: Option<&[u8; 32]>, secret: &str) -> bool {
    let nobody = [0; 32];
    let is_equal = hash(secret).ct_eq(kept.unwrap_or(&nobody));
    bool::from(is_equal) && kept.is_some()
}

fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

fn known_scopes(auth: &Auth, scopes: &[String]) -> Result<ScopeSet, ClientError> {
    check_scopes(auth, scopes)?;
    match ScopeSet::from_words(scopes.iter().map(String::as_str)) {
        Ok(scopes) if !scopes.is_empty() => Ok(scopes),
        Ok(_) | Err(_) => Err(ClientError::NoScope),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobodys_secret_is_right() {
        let kept = hash("right");
        assert!(is_secret_of(Some(&kept), "right"));
        assert!(!is_secret_of(Some(&kept), "wrong") && !is_secret_of(Some(&kept), ""));
        assert!(!is_secret_of(None, "right"));
    }
}

//! Clients: programs that get tokens with a secret or a key of their own. We make the secret (32 random bytes), show it
//! once and keep its SHA-256, which is enough for what nobody chose and nobody can guess. Of a key we have the public half.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis_audit::{Event, Party, PartyKind};
use portcullis_config::{auth::Auth, units::Timestamp};
use portcullis_store::{Client, ClientProof, NewClient, Store, StoreError};
use portcullis_tokens::{ClientKeys, ClientKeysError, ScopeSet};
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
    Keys(#[from] ClientKeysError),
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
    let (secret, proof) = new_secret()?;
    let client = new_client(auth, (name, scopes), proof, created.at)?;
    let target = client_party(&client.id, name);
    let client = store.create_client(&client, &created.on(target)).await?;
    Ok((client, secret))
}

/// As [`create_client`], for one that signs with a key of its own and has no secret. `public_keys` is a key set, one key of
/// it, or a PEM block.
pub async fn create_signing_client(
    store: &Store,
    auth: &Auth,
    (name, scopes): (&str, &[String]),
    public_keys: &str,
    created: Event,
) -> Result<Client, ClientError> {
    let client = new_client(auth, (name, scopes), keys(public_keys)?, created.at)?;
    let target = client_party(&client.id, name);
    Ok(store.create_client(&client, &created.on(target)).await?)
}

/// Gives the client another secret, which is nowhere to be had again. The one it had, or its keys, prove nothing from then
/// on, and its tokens are refused until `until`, when the last of them has expired.
pub async fn rotate_secret(
    store: &Store,
    id: &str,
    until: Timestamp,
    changed: &Event,
) -> Result<(Client, SecretString), ClientError> {
    let (secret, proof) = new_secret()?;
    let client = store.set_client_proof(id, &proof, until, changed).await?;
    Ok((client, secret))
}

/// As [`rotate_secret`], with keys of the client's own.
pub async fn replace_keys(
    store: &Store,
    id: &str,
    public_keys: &str,
    until: Timestamp,
    changed: &Event,
) -> Result<Client, ClientError> {
    let proof = keys(public_keys)?;
    Ok(store.set_client_proof(id, &proof, until, changed).await?)
}

fn new_client(
    auth: &Auth,
    (name, scopes): (&str, &[String]),
    proof: ClientProof,
    created_at: Timestamp,
) -> Result<NewClient, ClientError> {
    plain_name::check(name)?;
    Ok(NewClient {
        id: random::row_id(created_at)?,
        name: name.to_owned(),
        proof,
        scopes: known_scopes(auth, scopes)?.line().to_owned(),
        created_at,
    })
}

fn new_secret() -> Result<(SecretString, ClientProof), NoRandomness> {
    let secret = SecretString::from(URL_SAFE_NO_PAD.encode(random::bytes::<32>()?));
    let proof = ClientProof::Secret(hash(secret.expose_secret()));
    Ok((secret, proof))
}

/// Kept as they were given, once it is sure that they can be read back.
fn keys(text: &str) -> Result<ClientProof, ClientKeysError> {
    ClientKeys::parse(text)?;
    Ok(ClientProof::Keys(text.trim().to_owned()))
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

/// What a client may be given: at least one scope, and each one that the configuration declares.
pub fn known_scopes(auth: &Auth, scopes: &[String]) -> Result<ScopeSet, ClientError> {
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

//! `auth.providers`: where people who belong elsewhere sign in (OIDC).

use secrecy::SecretString;

/// An identity provider that we are a client of.
#[derive(Clone)]
pub struct Provider {
    /// In the address that sign-in begins at. Not in the accounts, which go by `issuer`.
    pub name: String,
    /// The `iss` of its ID tokens, byte for byte, and where its metadata is.
    pub issuer: String,
    pub client_id: String,
    pub client_secret: SecretString,
    /// What it is asked for. `openid` is among them.
    pub scopes: Vec<String>,
    /// Whether somebody who was never here gets an account.
    pub create_users: bool,
    /// Whose verified addresses are let in, in lower case; everybody's where empty.
    pub allowed_domains: Vec<String>,
    /// The page that the browser ends at, with the refresh token in a cookie. Without one the tokens are the answer.
    pub return_to: Option<String>,
}

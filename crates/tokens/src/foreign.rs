//! Tokens of other issuers, read through the mapping that the operator wrote. What is not mapped grants nothing.

use std::{collections::BTreeMap, sync::Arc};

use portcullis_config::issuers::ClaimNames;
use serde_json::Value;

use crate::{
    claims::Claims,
    error::TokenError,
    issuer::OWN_RESOURCE,
    principal::{IssuerName, VerifiedClaims},
    remembered::RememberedClaims,
    scopes::ScopeSet,
    text,
};

pub(crate) struct Mapping {
    pub(crate) name: Arc<str>,
    pub(crate) audiences: Vec<String>,
    pub(crate) claims: ClaimNames,
    pub(crate) roles: BTreeMap<String, String>,
}

impl Mapping {
    /// Everything but validity and key, which the caller has checked.
    pub(crate) fn read(&self, claims: Claims<'_>) -> Result<VerifiedClaims, TokenError> {
        let user = claims.name(&self.claims.user, "user")?;
        Ok(VerifiedClaims {
            subject: format!("{}:{user}", self.name).into(),
            issuer: IssuerName::Foreign(self.name.clone()),
            resource: self.resource(claims)?.into(),
            scopes: self.scopes(claims)?,
            roles: self.roles(claims)?,
            tenant: claims
                .optional_name(&self.claims.tenant, "tenant")?
                .map(Into::into),
            remembered: RememberedClaims::default(),
            session: None,
            version: 0,
            token_id: claims
                .optional_name("jti", "jti")?
                .unwrap_or_default()
                .into(),
            client_id: claims
                .optional_name("client_id", "client_id")?
                .map(Into::into),
            key_id: None,
            revocations: None,
            their_subject: None,
            expires_at: <_>::default(),
            refused_from: <_>::default(),
        })
    }

    /// A principal opens one resource. Of several audiences it is the first that is configured.
    fn resource<'a>(&self, claims: Claims<'a>) -> Result<&'a str, TokenError> {
        let resource = if self.claims.resource == "aud" {
            let ours = |audience: &&str| self.audiences.iter().any(|known| known == audience);
            claims
                .names("aud", "aud")?
                .into_iter()
                .find(ours)
                .ok_or(TokenError::WrongAudience)?
        } else {
            claims.name(&self.claims.resource, "resource")?
        };
        // Whoever runs that issuer must not become an administrator of this gateway by naming it.
        if resource == OWN_RESOURCE {
            Err(TokenError::WrongAudience)
        } else {
            Ok(resource)
        }
    }

    /// The first of the configured claims that is there: a line or a list.
    fn scopes(&self, claims: Claims<'_>) -> Result<ScopeSet, TokenError> {
        let Some(name) = self
            .claims
            .scopes
            .iter()
            .find(|name| claims.find(name).is_some())
        else {
            return Ok(ScopeSet::default());
        };
        let scopes = match claims.find(name) {
            Some(Value::String(line)) => ScopeSet::parse(line),
            Some(_) | None => ScopeSet::from_words(claims.names(name, "scopes")?),
        };
        scopes.map_err(|_invalid| TokenError::BadClaims("scopes"))
    }

    /// In our words, each once. A single string is a single role: the names of others may have spaces in them.
    fn roles(&self, claims: Claims<'_>) -> Result<Box<[Box<str>]>, TokenError> {
        let mut roles: Vec<Box<str>> = Vec::new();
        for theirs in claims.names(&self.claims.roles, "roles")? {
            match self.roles.get(theirs) {
                Some(ours) if !text::is_role(ours) => return Err(TokenError::BadClaims("roles")),
                Some(ours) if !roles.iter().any(|known| **known == **ours) => {
                    roles.push(ours.as_str().into())
                }
                Some(_) | None => {}
            }
        }
        Ok(roles.into())
    }
}

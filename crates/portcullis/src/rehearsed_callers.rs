//! Callers that a table of requests describes: tokens as each issuer of the configuration would make them, signed with
//! keys that only this command has.

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use portcullis_config::{
    Config,
    auth::Auth,
    issuers::{Issuer, LOCAL, TokenType},
};
use portcullis_tokens::{
    AccessClaims, IssuerSpec, KeySet, Revocations, SigningAlgorithm, SigningKey, Verifier,
    VerifierParts,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::clock;

/// Long enough for any table, and within what any issuer may allow.
const LIFETIME: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Caller {
    /// `local`, or the name of an issuer.
    #[serde(default = "local")]
    issuer: String,
    #[serde(default = "somebody")]
    user: String,
    resource: String,
    #[serde(default)]
    scopes: Vec<String>,
    /// In our words: where the issuer has others, the first that is mapped to it is written.
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    tenant: Option<String>,
    /// Further claims, as they stand.
    #[serde(default)]
    claims: Map<String, Value>,
}

fn local() -> String {
    LOCAL.to_owned()
}

fn somebody() -> String {
    String::from("somebody")
}

/// Every issuer with a key of its own.
pub(crate) struct Issuers {
    own: Option<Auth>,
    foreign: Vec<Issuer>,
    keys: HashMap<String, SigningKey>,
}

impl Issuers {
    pub(crate) fn of(config: &Config) -> anyhow::Result<Self> {
        let own = config.auth.iter().map(|_| LOCAL);
        let names = own.chain(config.issuers.iter().map(|issuer| &*issuer.name));
        let keys = names.map(|name| {
            let key = SigningKey::generate(SigningAlgorithm::Es256)?;
            anyhow::Ok((name.to_owned(), key))
        });
        Ok(Self {
            own: config.auth.clone(),
            foreign: config.issuers.clone(),
            keys: keys.collect::<anyhow::Result<_>>()?,
        })
    }

    /// By the rules of the configuration, with the keys from here.
    pub(crate) fn verifier(&self, config: &Config) -> anyhow::Result<Verifier> {
        let remembered: Arc<[Arc<str>]> =
            config.counted_claims().into_iter().map(Arc::from).collect();
        let mut issuers = Vec::new();
        if let Some(auth) = &self.own {
            let resources = auth.resources.keys().cloned();
            issuers.push(IssuerSpec::local(
                &auth.issuer,
                resources,
                LIFETIME,
                self.key_set(LOCAL)?,
            ));
        }
        for issuer in &self.foreign {
            let spec = IssuerSpec::foreign(issuer, self.key_set(&issuer.name)?)?;
            issuers.push(match &issuer.revocations {
                Some(_) => spec.following(Arc::new(Revocations::assumed_complete())),
                None => spec,
            });
        }
        let issuers = issuers
            .into_iter()
            .map(|issuer| issuer.remembering(Arc::clone(&remembered)));
        Ok(Verifier::new(VerifierParts {
            issuers: issuers.collect(),
            cache_entries: 1024,
            cache_bytes: 1 << 20,
            revocations: Arc::new(Revocations::assumed_complete()),
        })?)
    }

    fn key_set(&self, name: &str) -> anyhow::Result<KeySet> {
        Ok(KeySet::new([self.key(name)?.verification_key()])?)
    }

    fn key(&self, name: &str) -> anyhow::Result<&SigningKey> {
        self.keys
            .get(name)
            .with_context(|| format!("the configuration has no issuer {name:?}"))
    }

    pub(crate) fn token(&self, caller: &Caller) -> anyhow::Result<String> {
        let key = self.key(&caller.issuer)?;
        match self
            .foreign
            .iter()
            .find(|issuer| issuer.name == caller.issuer)
        {
            Some(issuer) => foreign_token(key, issuer, caller),
            None => self.own_token(key, caller),
        }
    }

    fn own_token(&self, key: &SigningKey, caller: &Caller) -> anyhow::Result<String> {
        let auth = self
            .own
            .as_ref()
            .context("the configuration has no `auth`")?;
        let now = clock::wall().as_secs();
        Ok(key.sign(&AccessClaims {
            iss: auth.issuer.clone(),
            sub: caller.user.clone(),
            aud: caller.resource.clone(),
            resource: caller.resource.clone(),
            iat: now,
            exp: now + LIFETIME.as_secs(),
            jti: String::from("rehearsed"),
            client_id: String::from("portcullis"),
            scope: caller.scopes.join(" "),
            roles: caller.roles.clone(),
            sid: String::from("rehearsed"),
            ver: 1,
            tenant: caller.tenant.clone(),
        })?)
    }
}

fn foreign_token(key: &SigningKey, issuer: &Issuer, caller: &Caller) -> anyhow::Result<String> {
    let (now, names) = (clock::wall().as_secs(), &issuer.claims);
    let mut claims = caller.claims.clone();
    let mut say = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    say("iss", json!(issuer.issuer));
    say("iat", json!(now));
    say("exp", json!(now + LIFETIME.as_secs()));
    if issuer.revocations.is_some() {
        say("sub", json!(caller.user));
        say("sid", json!("rehearsed"));
        say("ver", json!(1));
    }
    say(&names.user, json!(caller.user));
    // Where the resource is another claim's to name, the audience still has to be one of ours.
    say("aud", json!(issuer.audiences.first()));
    say(&names.resource, json!(caller.resource));
    say(
        names.scopes.first().map_or("scope", |name| name),
        json!(caller.scopes.join(" ")),
    );
    say(&names.roles, json!(their_roles(issuer, caller)?));
    if let Some(tenant) = &caller.tenant {
        say(&names.tenant, json!(tenant));
    }
    let token_type = issuer.types.iter().find_map(|accepted| match accepted {
        TokenType::Named(name) => Some(&**name),
        TokenType::Absent => None,
    });
    Ok(key.sign_foreign(token_type, &claims)?)
}

fn their_roles(issuer: &Issuer, caller: &Caller) -> anyhow::Result<Vec<String>> {
    let theirs = caller.roles.iter().map(|ours| {
        let word = issuer.roles.iter().find(|(_, mapped)| *mapped == ours);
        match word {
            Some((theirs, _)) => Ok(theirs.clone()),
            None => bail!("no role of {} is mapped to {ours:?}", issuer.name),
        }
    });
    theirs.collect()
}

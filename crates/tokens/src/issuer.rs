//! One issuer: its keys, its names, its revocations, and what its tokens may say. Ours are read by fixed rules, those of others through
//! their [`Mapping`].

use std::{sync::Arc, time::Duration};

use portcullis_config::{
    issuers::{self, TokenType},
    units::Timestamp,
};

use crate::{
    claims::{Claims, Validity},
    error::{KeyError, TokenError},
    foreign::Mapping,
    header::Header,
    issuer_keys::IssuerKeys,
    keys::{Demands, Key},
    principal::{IssuerName, Principal, VerifiedClaims},
    remembered::RememberedClaims,
    revocations::Revocations,
    scopes::ScopeSet,
    text,
};

/// The resource under which Portcullis itself is administered. Only our own tokens open it.
pub const OWN_RESOURCE: &str = "portcullis";

/// How far the clocks of replicas may be apart. A token of ours is refused from `exp` plus this on, so a revocation
/// has to last as much longer than the tokens it means.
pub const LOCAL_CLOCK_SKEW: Duration = Duration::from_secs(5);

/// An issuer whose tokens are accepted, to be handed to [`crate::Verifier::new`].
pub struct IssuerSpec {
    issuer: String,
    rules: Rules,
    audiences: Vec<String>,
    types: Vec<TokenType>,
    clock_skew: Duration,
    max_lifetime: Duration,
    keys: Arc<IssuerKeys>,
    remembered: Arc<[Arc<str>]>,
    revocations: Option<Arc<Revocations>>,
}

pub(crate) enum Rules {
    Local,
    Foreign(Mapping),
}

impl IssuerSpec {
    /// The embedded auth service. Its tokens are for one of `resources` or for [`OWN_RESOURCE`], and live for
    /// `max_lifetime` at the most: shortening that ends older tokens, too.
    pub fn local(
        issuer: &str,
        resources: impl IntoIterator<Item = String>,
        max_lifetime: Duration,
        keys: impl Into<Arc<IssuerKeys>>,
    ) -> Self {
        let mut audiences: Vec<String> = resources.into_iter().collect();
        audiences.push(OWN_RESOURCE.to_owned());
        Self {
            issuer: issuer.to_owned(),
            rules: Rules::Local,
            audiences,
            types: vec![TokenType::Named("at+jwt".to_owned())],
            clock_skew: LOCAL_CLOCK_SKEW,
            max_lifetime,
            keys: keys.into(),
            remembered: Arc::default(),
            revocations: None,
        }
    }

    /// Another issuer. Its keys come apart, because whoever reads files or asks for them makes them.
    pub fn foreign(
        settings: &issuers::Issuer,
        keys: impl Into<Arc<IssuerKeys>>,
    ) -> Result<Self, KeyError> {
        // With a colon in it, `a:b` and a subject `c` would be the same as `a` and a subject `b:c`.
        let is_free = settings.name != issuers::LOCAL && !settings.name.contains(':');
        if !is_free || !text::is_name(&settings.name) {
            return Err(KeyError::IssuerName);
        }
        let mapping = Mapping {
            name: settings.name.as_str().into(),
            audiences: settings.audiences.clone(),
            claims: settings.claims.clone(),
            roles: settings.roles.clone(),
        };
        Ok(Self {
            issuer: settings.issuer.clone(),
            rules: Rules::Foreign(mapping),
            audiences: settings.audiences.clone(),
            types: settings.types.clone(),
            clock_skew: settings.clock_skew,
            max_lifetime: settings.max_token_lifetime,
            keys: keys.into(),
            remembered: Arc::default(),
            revocations: None,
        })
    }

    /// For an issuer elsewhere that is a Portcullis as well, and whose revocations somebody follows. Its tokens must then
    /// carry what revocations name. Our own are told to the verifier.
    #[must_use]
    pub fn following(self, revocations: Arc<Revocations>) -> Self {
        Self {
            revocations: Some(revocations),
            ..self
        }
    }

    /// Its principals keep the values of these claims, named as they stand in the token.
    #[must_use]
    pub fn remembering(self, claims: Arc<[Arc<str>]>) -> Self {
        Self {
            remembered: claims,
            ..self
        }
    }
}

/// An issuer in use.
pub(crate) struct Issuer {
    /// Compared byte for byte with `iss`.
    pub(crate) issuer: String,
    rules: Rules,
    types: Vec<TokenType>,
    clock_skew: Duration,
    max_lifetime: Duration,
    pub(crate) keys: Arc<IssuerKeys>,
    /// What the library is asked to look for beside the signature.
    pub(crate) demands: Demands,
    remembered: Arc<[Arc<str>]>,
    /// Nobody's, where they are not followed.
    revocations: Option<Arc<Revocations>>,
}

impl Issuer {
    pub(crate) fn new(spec: IssuerSpec, own: &Arc<Revocations>) -> Self {
        let revocations = match &spec.rules {
            Rules::Local => Some(Arc::clone(own)),
            Rules::Foreign(_) => spec.revocations,
        };
        Self {
            revocations,
            demands: Demands::new(&spec.issuer, &spec.audiences),
            issuer: spec.issuer,
            rules: spec.rules,
            types: spec.types,
            clock_skew: spec.clock_skew,
            max_lifetime: whole_seconds(spec.max_lifetime),
            keys: spec.keys,
            remembered: spec.remembered,
        }
    }

    pub(crate) fn name(&self) -> IssuerName {
        match &self.rules {
            Rules::Local => IssuerName::Local,
            Rules::Foreign(mapping) => IssuerName::Foreign(mapping.name.clone()),
        }
    }

    pub(crate) fn check_header(&self, header: &Header) -> Result<(), TokenError> {
        match &self.rules {
            // We write three members and know all of our own: one more was not written by us.
            Rules::Local if !header.is_closed() => return Err(TokenError::Malformed),
            Rules::Local | Rules::Foreign(_) => {}
        }
        if header.is_of_type(&self.types) {
            Ok(())
        } else {
            Err(TokenError::WrongType)
        }
    }

    /// Everything that a good signature does not say.
    pub(crate) fn read(
        &self,
        claims: Claims<'_>,
        validity: Validity,
        (key, header): (&Key, &Header),
        now: Timestamp,
    ) -> Result<Principal, TokenError> {
        validity.check(now, self.clock_skew, self.max_lifetime)?;
        let mut verified = match &self.rules {
            Rules::Local => read_local(claims, &validity)?,
            Rules::Foreign(mapping) => mapping.read(claims)?,
        };
        verified.revocations.clone_from(&self.revocations);
        verified.remembered = RememberedClaims::read(&self.remembered, claims);
        verified.key_id = key.id.clone();
        if verified.issuer != IssuerName::Local && self.revocations.is_some() {
            tie_to_revocations(&mut verified, claims, header)?;
        }
        verified.expires_at = validity.expires_at;
        verified.refused_from = validity.expires_at.plus(self.clock_skew);
        Ok(Principal::new(verified))
    }
}

/// Tokens count in seconds, so that a lifetime of 1.5 s may come out as two.
fn whole_seconds(duration: Duration) -> Duration {
    let rounds_up = duration.subsec_nanos() > 0;
    Duration::from_secs(duration.as_secs().saturating_add(u64::from(rounds_up)))
}

/// All claims of RFC 9068 and ours; `key_id`, `remembered`, `revocations` and the times are the caller's to set.
fn read_local(claims: Claims<'_>, validity: &Validity) -> Result<VerifiedClaims, TokenError> {
    if validity.issued_at.is_none() {
        return Err(TokenError::BadClaims("iat"));
    }
    let audience = claims.name("aud", "aud")?;
    let resource = claims.name("resource", "resource")?;
    if resource != audience {
        return Err(TokenError::BadClaims("resource"));
    }
    Ok(VerifiedClaims {
        subject: claims.name("sub", "sub")?.into(),
        issuer: IssuerName::Local,
        resource: resource.into(),
        scopes: local_scopes(claims)?,
        roles: local_roles(claims)?,
        tenant: claims.optional_name("tenant", "tenant")?.map(Into::into),
        remembered: RememberedClaims::default(),
        session: Some(claims.name("sid", "sid")?.into()),
        version: version(claims)?,
        token_id: claims.name("jti", "jti")?.into(),
        client_id: Some(claims.name("client_id", "client_id")?.into()),
        key_id: None,
        revocations: None,
        their_subject: None,
        expires_at: validity.expires_at,
        refused_from: validity.expires_at,
    })
}

/// What another Portcullis revokes by, as its tokens say it. One that does not say it could not be taken back.
fn tie_to_revocations(
    verified: &mut VerifiedClaims,
    claims: Claims<'_>,
    header: &Header,
) -> Result<(), TokenError> {
    verified.their_subject = Some(claims.name("sub", "sub")?.into());
    verified.session = Some(claims.name("sid", "sid")?.into());
    verified.version = version(claims)?;
    // A single static key has no id of its own, but the token tells which it was.
    let named = || header.key_id.as_deref().map(Arc::from);
    verified.key_id = verified.key_id.take().or_else(named);
    match verified.key_id {
        Some(_) => Ok(()),
        None => Err(TokenError::BadClaims("kid")),
    }
}

fn version(claims: Claims<'_>) -> Result<u64, TokenError> {
    let version = claims.find("ver").and_then(serde_json::Value::as_u64);
    version.ok_or(TokenError::BadClaims("ver"))
}

fn local_scopes(claims: Claims<'_>) -> Result<ScopeSet, TokenError> {
    let line = claims
        .find("scope")
        .and_then(serde_json::Value::as_str)
        .ok_or(TokenError::BadClaims("scope"))?;
    ScopeSet::parse(line).map_err(|_invalid| TokenError::BadClaims("scope"))
}

fn local_roles(claims: Claims<'_>) -> Result<Box<[Box<str>]>, TokenError> {
    let is_list = claims
        .find("roles")
        .is_some_and(serde_json::Value::is_array);
    let roles = claims.names("roles", "roles")?;
    let are_roles = roles.iter().all(|role| text::is_role(role));
    if is_list && are_roles {
        Ok(roles.into_iter().map(Into::into).collect())
    } else {
        Err(TokenError::BadClaims("roles"))
    }
}

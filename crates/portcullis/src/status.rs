//! What `/status` shows: which file is in force, what it routes where, and how the breakers stand. No secret of the
//! file is in it, because only names and addresses are taken over.

use std::path::Path;

use portcullis_config::{
    Config,
    routes::{Access, PathPattern, Route, Segment, Target},
    units::Timestamp,
};
use portcullis_proxy::UpstreamStatus;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Which text the configuration was read from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) file: String,
    /// In hexadecimal, as `sha256sum` prints it.
    pub(crate) sha256: String,
}

impl Origin {
    pub(crate) fn of_text(file: &str, text: &[u8]) -> Self {
        let sha256 = Sha256::digest(text)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self {
            file: file.to_owned(),
            sha256,
        }
    }

    pub(crate) fn of_file(path: &Path) -> std::io::Result<Self> {
        Ok(Self::of_text(
            &path.display().to_string(),
            &std::fs::read(path)?,
        ))
    }
}

/// The part that does not change while the gateway runs.
pub(crate) fn describe(config: &Config, origin: &Origin, started_at: Timestamp) -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "started_at": portcullis_audit::rfc3339(started_at),
        "configuration": { "file": origin.file, "sha256": origin.sha256 },
        "listeners": config.server.listeners.iter().map(|listener| listener.address).collect::<Vec<_>>(),
        "routes": config.routes.iter().map(route).collect::<Vec<_>>(),
    })
}

/// The description with the upstreams as they stand now.
pub(crate) fn with_upstreams(mut description: Value, upstreams: &[UpstreamStatus]) -> Value {
    if let Some(fields) = description.as_object_mut() {
        fields.insert("upstreams".to_owned(), json!(upstreams));
    }
    description
}

fn route(route: &Route) -> Value {
    json!({
        "name": route.name,
        "path": path(&route.matches.path),
        "methods": route.matches.methods.iter().map(http::Method::as_str).collect::<Vec<_>>(),
        "hosts": route.matches.hosts,
        "upstream": match &route.target {
            Target::Upstream(upstream) => upstream.name.as_str(),
            Target::Auth => "builtin:auth",
        },
        "auth": match &route.access {
            Access::Public => "public",
            Access::Protected(rule) => rule.resource.as_str(),
        },
        "rate_limits": route.limit_names().collect::<Vec<_>>(),
    })
}

fn path(pattern: &PathPattern) -> String {
    let segments = pattern.segments.iter().map(|segment| match segment {
        Segment::Literal(text) => text.as_str(),
        Segment::Any => "*",
    });
    let written: String = segments
        .chain(pattern.subtree.then_some("**"))
        .flat_map(|segment| ["/", segment])
        .collect();
    if written.is_empty() {
        "/".to_owned()
    } else {
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_shown_as_it_was_written() {
        for written in ["/", "/x", "/x/*/y", "/x/**", "/**"] {
            assert_eq!(path(&PathPattern::parse(written).unwrap()), written);
        }
    }

    #[test]
    fn the_fingerprint_is_what_sha256sum_prints() {
        let origin = Origin::of_text("x", b"");
        assert_eq!(
            origin.sha256,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}

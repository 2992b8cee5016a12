//! Tokens of an identity provider that others wrote, each algorithm that it signs with.

use std::path::Path;

use portcullis_harness::identity_provider::{IdentityProvider, Installed};

use crate::issuer_stage::{Stage, entry};

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/identity_provider");

#[test]
fn the_tokens_of_a_real_identity_provider_pass_with_every_algorithm_it_knows() {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let installed = Installed::into(Path::new(PROGRAM), target).unwrap();
    let kinds: [(&str, &[&str]); 4] = [
        ("one", &["ES256"]),
        ("es384", &["ES384"]),
        (
            "rsa",
            &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
        ),
        ("eddsa", &["EdDSA"]),
    ];
    let providers = kinds.map(|(name, algorithms)| {
        let provider = IdentityProvider::start(&installed, algorithms).unwrap();
        (name, algorithms, provider)
    });
    let entries = providers.iter().map(|(name, algorithms, provider)| {
        let issuer = provider.issuer();
        // Half of them say by themselves where their keys are.
        let source = match *name {
            "one" | "rsa" => "discovery: true".to_owned(),
            _ => format!("jwks_url: {issuer}/jwks"),
        };
        let entry = entry(name, &issuer, &source);
        entry.replace("[ES256]", &format!("[{}]", algorithms.join(", ")))
    });
    let stage = Stage::build(&entries.collect::<String>());
    for (name, algorithms, provider) in &providers {
        for algorithm in *algorithms {
            let token = provider.token(algorithm).unwrap();
            stage.wait_until_it_passes(&token);
            let received = stage.upstream.take_received().pop().unwrap();
            let user = format!("{name}:desk");
            assert_eq!(
                received.field("x-user-id"),
                Some(user.as_str()),
                "{algorithm}"
            );
        }
    }
}

//! What is deployed is parsed here, and every gateway configuration it mounts or embeds goes through the loader.
//!
//! Nothing is started: no test machine needs Docker or a cluster. What is checked is what goes wrong on its own, names
//! that stop matching between two files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::OnceLock,
};

use portcullis_config::Reference;
use portcullis_harness::certificates::Authority;
use portcullis_tidy::{SourceFile, root};
use secrecy::SecretString;
use serde_yaml::{Deserializer, Value, from_str};

use crate::findings::{assert_none, file, files};

/// 32 bytes in base64, for any reference that asks for a key.
const SOME_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

#[test]
fn every_configuration_that_is_shipped_or_mounted_loads() {
    let configurations: Vec<_> = files().iter().flat_map(gateway_configurations).collect();
    let whole = configurations
        .iter()
        .map(|(path, _)| path.as_str())
        .collect::<BTreeSet<_>>();
    for expected in [
        "gateway.yaml",
        "deploy/compose/gateway.yaml",
        "deploy/examples/sidecar/gateway.yaml",
        "deploy/kubernetes/edge/configmap.yaml",
    ] {
        assert!(whole.contains(expected), "{expected} is looked at");
    }
    let findings: Vec<_> = configurations
        .iter()
        .flat_map(|(path, text)| mistakes_of(path, text))
        .collect();
    assert_none(
        "`portcullis check` finds nothing in a configuration of ours",
        &findings,
    );
}

#[test]
fn every_yaml_file_parses() {
    let findings: Vec<_> = files()
        .iter()
        .filter(|file| file.has_extension("yaml") || file.has_extension("yml"))
        .filter_map(|file| {
            parse_all(&file.text)
                .err()
                .map(|error| format!("{}: {error}", file.path))
        })
        .collect();
    assert_none("a YAML file is YAML", &findings);
}

#[test]
fn the_image_runs_unprivileged_from_pinned_bases_and_is_healthy_by_its_own_word() {
    let dockerfile = file("Dockerfile").text;
    let instructions = |name: &str| {
        dockerfile
            .lines()
            .filter_map(|line| line.trim().strip_prefix(name))
            .collect::<Vec<_>>()
    };

    let bases = instructions("FROM ");
    assert!(
        bases.len() > 1,
        "a compiler has no place in the image that runs: {bases:?}"
    );
    assert!(
        bases
            .iter()
            .all(|base| base.contains(':') && !base.contains(":latest")),
        "every base has a tag: {bases:?}"
    );
    let toolchain = file("rust-toolchain.toml").text;
    let version = toolchain
        .split('"')
        .nth(1)
        .expect("rust-toolchain.toml names a version");
    assert!(
        bases
            .iter()
            .any(|base| base.starts_with(&format!("rust:{version}-"))),
        "the image is built by Rust {version}"
    );
    assert!(
        dockerfile.contains(&format!("RUSTUP_TOOLCHAIN={version}")),
        "rustup is not asked for another version"
    );

    let users = instructions("USER ");
    assert!(
        users
            .last()
            .is_some_and(|user| !user.starts_with("0") && !user.starts_with("root")),
        "it does not run as root"
    );
    let probe = r#"CMD ["portcullis", "healthcheck""#;
    assert!(
        dockerfile.contains("HEALTHCHECK") && dockerfile.contains(probe),
        "the binary answers for its health"
    );
}

#[test]
fn compose_mounts_only_what_is_in_the_repository_or_made_by_its_script() {
    let compose = whole_yaml("deploy/compose.yaml");
    let mut findings = Vec::new();
    for (name, service) in entries(&compose, "services") {
        let sources = strings(&service, "volumes")
            .into_iter()
            .filter_map(|mount| mount.split(':').next().map(str::to_owned));
        let missing = sources.filter(|source| {
            source.starts_with('.') && !root().join("deploy").join(source).exists()
        });
        findings.extend(missing.map(|source| format!("{name} mounts {source}")));
        let pinned = text(&service, "image")
            .is_some_and(|image| image.contains(':') && !image.ends_with(":latest"));
        findings.extend((!pinned).then(|| format!("{name} has no pinned image")));
    }
    let script = file("deploy/compose/secrets.sh").text;
    for (name, secret) in entries(&compose, "secrets") {
        let made = text(&secret, "file") == Some(&format!("./compose/secrets/{name}"))
            && script.contains(&format!("make_once {name} "));
        findings.extend((!made).then(|| format!("no script makes the secret {name}")));
    }
    assert_none(
        "deploy/compose.yaml starts from a clone and its script",
        &findings,
    );
}

#[test]
fn compose_reads_its_secrets_where_the_configuration_looks_for_them() {
    let compose = whole_yaml("deploy/compose.yaml");
    let offered: BTreeSet<_> = entries(&compose, "secrets")
        .into_keys()
        .map(|name| format!("/run/secrets/{name}"))
        .collect();
    let findings: Vec<_> = files_referred_to(&file("deploy/compose/gateway.yaml").text)
        .difference(&offered)
        .cloned()
        .collect();
    assert_none(
        "every ${file:…} of the configuration is a secret of the compose file",
        &findings,
    );
}

#[test]
fn every_folder_of_kubernetes_applies_all_its_files_and_nothing_else() {
    for folder in ["edge", "sidecar"] {
        let listed: BTreeSet<_> = strings(
            &whole_yaml(&format!("deploy/kubernetes/{folder}/kustomization.yaml")),
            "resources",
        )
        .into_iter()
        .collect();
        let present: BTreeSet<_> = manifests(folder)
            .iter()
            .map(|file| file.file_name().to_owned())
            .collect();
        assert_eq!(
            listed, present,
            "deploy/kubernetes/{folder}/kustomization.yaml lists what lies beside it"
        );
    }
}

#[test]
fn pods_mount_volumes_that_exist_and_probe_ports_that_listen() {
    let mut findings = Vec::new();
    for folder in ["edge", "sidecar"] {
        let pod = pod_of(folder);
        let volumes: BTreeSet<_> = list(&pod, "volumes")
            .iter()
            .filter_map(|volume| text(volume, "name"))
            .collect();
        let containers = list(&pod, "containers")
            .iter()
            .chain(list(&pod, "initContainers"));
        for container in containers {
            let name = text(container, "name").unwrap_or("a container without a name");
            let mounts = list(container, "volumeMounts")
                .iter()
                .filter_map(|mount| text(mount, "name"));
            findings.extend(
                mounts
                    .filter(|mount| !volumes.contains(mount))
                    .map(|mount| format!("{folder}/{name} mounts {mount}")),
            );
            let ports: BTreeSet<_> = list(container, "ports")
                .iter()
                .filter_map(|port| text(port, "name"))
                .collect();
            let probes = ["startupProbe", "readinessProbe", "livenessProbe"]
                .into_iter()
                .filter_map(|probe| container.get(probe));
            let asked = probes.filter_map(|probe| text(probe.get("httpGet")?, "port"));
            findings.extend(
                asked
                    .filter(|port| !ports.contains(port))
                    .map(|port| format!("{folder}/{name} is probed at {port}")),
            );
        }
    }
    assert_none("names inside a pod match", &findings);
}

#[test]
fn a_pod_is_given_longer_to_stop_than_the_gateway_takes() {
    for folder in ["edge", "sidecar"] {
        let grace = pod_of(folder)
            .get("terminationGracePeriodSeconds")
            .and_then(Value::as_u64)
            .unwrap_or(30);
        let config = embedded(folder);
        let shutdown = config.server.shutdown;
        assert!(
            grace > (shutdown.timeout + shutdown.drain_delay).as_secs(),
            "{folder}: {grace} s are too few"
        );
    }
}

#[test]
fn probes_and_ports_are_those_the_configuration_binds() {
    for folder in ["edge", "sidecar"] {
        let pod = pod_of(folder);
        let gateway = list(&pod, "containers")
            .iter()
            .find(|container| container.get("readinessProbe").is_some());
        let gateway =
            gateway.unwrap_or_else(|| panic!("{folder}: the gateway's container is probed"));
        let port = |wanted: &str| {
            let found = list(gateway, "ports")
                .iter()
                .find(|port| text(port, "name") == Some(wanted));
            found.and_then(|port| port.get("containerPort")?.as_u64())
        };
        let server = embedded(folder).server;
        assert_eq!(
            port("admin"),
            Some(u64::from(server.admin.port())),
            "{folder}: admin"
        );
        assert!(
            server.admin.ip().is_unspecified(),
            "{folder}: the kubelet reaches the admin port by the pod's address"
        );
        let http = server
            .listeners
            .first()
            .map(|listener| u64::from(listener.address.port()));
        assert_eq!(port("http"), http, "{folder}: http");
    }
}

#[test]
fn a_sidecar_opens_no_database() {
    assert!(!embedded("sidecar").needs_database());
}

#[test]
fn ci_runs_commands_of_the_makefile_within_a_time_limit_with_pinned_actions() {
    let workflow = whole_yaml(".github/workflows/ci.yml");
    let makefile = file("Makefile").text;
    let mut findings = Vec::new();
    for (name, job) in entries(&workflow, "jobs") {
        findings.extend(
            job.get("timeout-minutes")
                .is_none()
                .then(|| format!("{name} has no time limit")),
        );
        for step in list(&job, "steps") {
            let target = text(step, "run").and_then(|run| run.strip_prefix("make "));
            let unknown = target.filter(|target| !makefile.contains(&format!("\n{target}:")));
            findings.extend(unknown.map(|target| format!("{name} runs make {target}")));
            let hash = text(step, "uses")
                .and_then(|action| action.split_once('@'))
                .map(|(_, version)| version);
            let pinned = hash.is_none_or(|hash| {
                hash.len() == 40 && hash.chars().all(|digit| digit.is_ascii_hexdigit())
            });
            findings.extend(
                (!pinned).then(|| format!("{name} takes an action by a name that can move")),
            );
        }
    }
    assert_none(".github/workflows/ci.yml keeps to the Makefile", &findings);
}

/// What the loader says about a configuration when every secret it refers to can be read.
pub(crate) fn mistakes_of(path: &str, text: &str) -> Vec<String> {
    match portcullis_config::parse(text, path, &answer) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.to_string().lines().map(str::to_owned).collect(),
    }
}

/// Stands for the operator: whatever is called a key is one, whatever is called a URL is one.
fn answer(reference: &Reference) -> Result<SecretString, String> {
    let name = match reference {
        Reference::Env(name) => name.to_lowercase(),
        Reference::File(path) => path.to_string_lossy().to_lowercase(),
        Reference::HashList(_) => return Ok(SecretString::default()),
    };
    let value = match name {
        name if name.ends_with(".crt") || name.ends_with(".pem") => {
            return Ok(SecretString::from(&*pair().0));
        }
        name if name.ends_with(".key") => return Ok(SecretString::from(&*pair().1)),
        name if name.ends_with("key") => SOME_KEY,
        name if name.ends_with("endpoint") => "http://collector:4318",
        name if name.contains("database") => "postgres://portcullis:secret@localhost/portcullis",
        _ => "secret",
    };
    Ok(SecretString::from(value))
}

/// A certificate and its key, for whatever file is called one.
fn pair() -> &'static (String, String) {
    static PAIR: OnceLock<(String, String)> = OnceLock::new();
    PAIR.get_or_init(|| {
        let authority = Authority::new("tidy").expect("an authority");
        let certified = authority
            .server(&["api.example.com"])
            .expect("a certificate");
        let read = |path| fs::read_to_string(path).expect("what was just written");
        (read(&certified.certificate), read(&certified.key))
    })
}

/// The file itself, or what a manifest embeds under that name.
pub(crate) fn gateway_configurations(file: &SourceFile) -> Vec<(String, String)> {
    if file.file_name() == "gateway.yaml" {
        return vec![(file.path.clone(), file.text.clone())];
    }
    if !file.path.starts_with("deploy/kubernetes/") || !file.has_extension("yaml") {
        return Vec::new();
    }
    let documents = parse_all(&file.text).unwrap_or_default();
    let embedded = documents
        .iter()
        .filter_map(|document| text(document.get("data")?, "gateway.yaml"));
    embedded
        .map(|text| (file.path.clone(), text.to_owned()))
        .collect()
}

fn embedded(folder: &str) -> portcullis_config::Config {
    let path = format!("deploy/kubernetes/{folder}/configmap.yaml");
    let (_, text) = gateway_configurations(&file(&path))
        .pop()
        .unwrap_or_else(|| panic!("{path} holds a gateway.yaml"));
    portcullis_config::parse(&text, &path, &answer).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn files_referred_to(configuration: &str) -> BTreeSet<String> {
    let references = configuration
        .split("${file:")
        .skip(1)
        .filter_map(|rest| rest.split('}').next());
    references.map(str::to_owned).collect()
}

fn manifests(folder: &str) -> Vec<SourceFile> {
    let folder = format!("deploy/kubernetes/{folder}/");
    let inside = files()
        .into_iter()
        .filter(|file| file.path.starts_with(&folder));
    inside
        .filter(|file| file.file_name() != "kustomization.yaml")
        .collect()
}

fn pod_of(folder: &str) -> Value {
    let path = format!("deploy/kubernetes/{folder}/deployment.yaml");
    let deployment = whole_yaml(&path);
    let pod = deployment
        .get("spec")
        .and_then(|spec| spec.get("template")?.get("spec"));
    pod.unwrap_or_else(|| panic!("{path} has a pod")).clone()
}

fn whole_yaml(path: &str) -> Value {
    let mut value: Value =
        from_str(&file(path).text).unwrap_or_else(|error| panic!("{path}: {error}"));
    value
        .apply_merge()
        .unwrap_or_else(|error| panic!("{path}: {error}"));
    value
}

fn parse_all(text: &str) -> Result<Vec<Value>, serde_yaml::Error> {
    use serde::Deserialize;
    Deserializer::from_str(text)
        .map(Value::deserialize)
        .collect()
}

fn entries(value: &Value, key: &str) -> BTreeMap<String, Value> {
    let mapping = value
        .get(key)
        .and_then(Value::as_mapping)
        .into_iter()
        .flatten();
    mapping
        .filter_map(|(name, entry)| Some((name.as_str()?.to_owned(), entry.clone())))
        .collect()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value
        .get(key)
        .and_then(Value::as_sequence)
        .map_or(&[], Vec::as_slice)
}

fn strings(value: &Value, key: &str) -> Vec<String> {
    list(value, key)
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str()
}

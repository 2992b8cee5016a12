//! `portcullis demo`: the shipped configuration on 127.0.0.1, with three sample backends behind it and two users in it.
//!
//! Addresses, the issuer and the database are changed in the parsed configuration; everything else is the file's.

mod backends;
mod banner;

use std::{
    fs::{self, Permissions},
    net::{Ipv4Addr, SocketAddr, TcpListener as StdListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use clap::Args;
use portcullis_audit::{Action, Event, Outcome};
use portcullis_auth::{
    AccountError, NewAccount, Strength, create_user,
    identifiers::Username,
    password::{Hasher, Password},
};
use portcullis_config::{
    Config,
    routes::Target,
    server::Listener,
    storage::Database,
    upstreams::{Endpoint, Location, Upstream},
};
use portcullis_store::StoreError;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::{
    clock,
    configuration::{self, Reading},
    house::operator,
    logging, output,
    readiness::{Readiness, State},
    run::Opened,
    serve,
    status::Origin,
};

const SHIPPED: &str = include_str!("../../../gateway.yaml");
const SHIPPED_NAME: &str = "gateway.yaml (shipped)";

/// User, password, role. The only passwords that escape the policy: they stand in the documentation.
const USERS: [(&str, &str, &str); 2] = [("saad", "1234", "guest"), ("admin", "admin", "admin")];
const BACKENDS: [&str; 3] = ["hotel", "event", "hospital"];
/// So often is looked whether the gateway is ready, before the banner is printed.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Args)]
pub(crate) struct Options {
    /// Where the gateway listens, on 127.0.0.1; 0 takes a free port
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Where metrics and health are, on 127.0.0.1; 0 takes a free port
    #[arg(long, default_value_t = 9090)]
    admin_port: u16,
    /// Keep the database here instead of in a folder that goes with the demo
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

pub(crate) fn demo(config: Option<&Path>, options: &Options) -> anyhow::Result<ExitCode> {
    logging::start();
    let (mut config, origin) = read(config)?;
    let data = DataFolder::of(options.data_dir.as_deref())?;
    let gateway = place(&mut config, options, &data)?;
    let backends = find_places(&mut config)?;
    let hospital = backends
        .iter()
        .find(|(backend, _)| backend.name == "hospital");
    let hospital = hospital
        .map(|(backend, _)| backend.address)
        .context("the hospital backend has no place")?;
    let places = banner::Places {
        gateway,
        admin: config.server.admin,
        hospital,
    };
    let opened = Opened::open(config, origin)?;
    opened.runtime.block_on(async {
        make_users(&opened).await?;
        backends.into_iter().try_for_each(|(backend, listener)| {
            backends::serve(backend, TcpListener::from_std(listener)?);
            anyhow::Ok(())
        })
    })?;
    opened
        .runtime
        .spawn(greet(Arc::clone(&opened.readiness), places));
    serve::serve(opened)
}

fn read(path: Option<&Path>) -> anyhow::Result<(Config, Origin)> {
    if let Some(path) = path {
        let reading = Reading::of(path);
        return Ok((configuration::usable(reading.config)?, reading.origin));
    }
    let config = portcullis_config::parse(SHIPPED, SHIPPED_NAME, &configuration::secret);
    let config = config.context("the shipped configuration is not usable here")?;
    Ok((config, Origin::of_text(SHIPPED_NAME, SHIPPED.as_bytes())))
}

/// Where the database lies. A temporary folder goes when this is dropped.
enum DataFolder {
    Kept(PathBuf),
    Temporary(TempDir),
}

impl DataFolder {
    fn of(kept: Option<&Path>) -> anyhow::Result<Self> {
        let Some(folder) = kept else {
            let temporary = tempfile::Builder::new()
                .prefix("portcullis-demo-")
                .permissions(Permissions::from_mode(0o700))
                .tempdir();
            return Ok(Self::Temporary(
                temporary.context("cannot make a temporary folder")?,
            ));
        };
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self::Kept(folder.to_owned()))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

/// Puts gateway, admin listener and database in their places and says where the gateway is.
fn place(config: &mut Config, options: &Options, data: &DataFolder) -> anyhow::Result<SocketAddr> {
    let gateway = local(free_port(options.port, "--port")?);
    config.server.listeners = vec![Listener {
        address: gateway,
        tls: None,
        proxy_protocol: false,
    }];
    config.server.admin = local(free_port(options.admin_port, "--admin-port")?);
    config.storage.database = Database::Sqlite(data.path().join("portcullis.db"));
    config.storage.key = None;
    if let Some(auth) = &mut config.auth {
        auth.issuer = format!("http://localhost:{}", gateway.port());
    }
    Ok(gateway)
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// This port, or any where it is 0. Whoever has it already would be greeted as the demo, because somebody answers there.
fn free_port(port: u16, option: &str) -> anyhow::Result<u16> {
    let listener = StdListener::bind(local(port)).with_context(|| {
        format!(
            "cannot listen on {}: give another port with {option}",
            local(port)
        )
    })?;
    Ok(listener.local_addr()?.port())
}

/// Each backend gets the port that the file gives its upstream, or a free one if somebody else has it.
fn find_places(config: &mut Config) -> anyhow::Result<Vec<(backends::Backend, StdListener)>> {
    BACKENDS
        .into_iter()
        .map(|name| {
            let listener = listen_near(port_of(config, name))?;
            let address = listener.local_addr()?;
            move_upstream(config, name, address);
            Ok((backends::Backend { name, address }, listener))
        })
        .collect()
}

fn port_of(config: &Config, upstream: &str) -> u16 {
    let endpoints = config
        .upstreams
        .iter()
        .filter(|known| known.name == upstream)
        .flat_map(|known| &known.endpoints);
    let mut ports = endpoints.filter_map(|endpoint| match &endpoint.at {
        Location::Address(address) => Some(address.port()),
        Location::Name { port, .. } => Some(*port),
        Location::Unix(_) => None,
    });
    ports.next().unwrap_or(0)
}

fn listen_near(port: u16) -> anyhow::Result<StdListener> {
    let listener = StdListener::bind(local(port)).or_else(|_| StdListener::bind(local(0)));
    let listener = listener.context("there is no free port for a sample backend")?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Upstreams are shared between their section and the routes, so both are led to the new place.
fn move_upstream(config: &mut Config, name: &str, address: SocketAddr) {
    let Some(named) = config
        .upstreams
        .iter_mut()
        .find(|upstream| upstream.name == name)
    else {
        return;
    };
    let moved = Arc::new(Upstream {
        endpoints: vec![Endpoint::new(Location::Address(address))],
        ..Upstream::clone(named)
    });
    *named = Arc::clone(&moved);
    for route in &mut config.routes {
        if let Target::Upstream(upstream) = &mut route.target
            && upstream.name == name
        {
            *upstream = Arc::clone(&moved);
        }
    }
}

async fn make_users(opened: &Opened) -> anyhow::Result<()> {
    let configuration = opened.configuration();
    let (Some(store), Some(auth)) = (&opened.store, &configuration.config.auth) else {
        return Ok(());
    };
    let hasher = Hasher::start(&auth.password, 1)?;
    for (name, password, role) in USERS {
        let account = NewAccount {
            username: Some(Username::parse(name)?),
            email: None,
            password: Password::parse(password)?,
            roles: &[role],
            tenant: None,
            strength: Strength::Unchecked,
        };
        let event = Event::new(
            clock::wall(),
            Action::UserCreated,
            Outcome::Success,
            operator(),
        );
        match create_user(store, &hasher, account, event).await {
            // A kept database knows them from the last time.
            Ok(_) | Err(AccountError::Store(StoreError::Taken)) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot add the user {name}")),
        }
    }
    Ok(())
}

async fn greet(readiness: Arc<Readiness>, places: banner::Places) {
    while readiness.state().await == State::Starting {
        tokio::time::sleep(LOOK).await;
    }
    output::say(banner::banner(&places));
}

#[cfg(test)]
mod tests {
    use http::Method;
    use portcullis_policy::routing::RouteTable;

    use super::*;

    fn shipped() -> Config {
        read(None).expect("the shipped configuration is valid").0
    }

    #[test]
    fn a_moved_upstream_moves_in_its_routes_too() {
        let mut config = shipped();
        move_upstream(&mut config, "hotel", local(19_001));
        assert_eq!(port_of(&config, "hotel"), 19_001);
        let led = config
            .routes
            .iter()
            .filter_map(|route| match &route.target {
                Target::Upstream(upstream) if upstream.name == "hotel" => {
                    Some(upstream.endpoints.clone())
                }
                Target::Upstream(_) | Target::Auth | Target::Redirect(_) => None,
            });
        assert!(
            led.into_iter()
                .all(|endpoints| endpoints == [Endpoint::new(Location::Address(local(19_001)))])
        );
        assert_eq!(port_of(&config, "event"), 9002, "the others stay");
    }

    #[test]
    fn the_demo_is_not_reachable_from_elsewhere() {
        let mut config = shipped();
        let options = Options {
            port: 0,
            admin_port: 0,
            data_dir: None,
        };
        let data = DataFolder::of(None).unwrap();
        let gateway = place(&mut config, &options, &data).unwrap();
        assert!(
            config
                .server
                .listeners
                .iter()
                .all(|listener| listener.address.ip().is_loopback())
        );
        assert!(config.server.admin.ip().is_loopback());
        assert_eq!(
            config.auth.unwrap().issuer,
            format!("http://localhost:{}", gateway.port())
        );
    }

    #[test]
    fn the_shipped_file_knows_the_backends_and_roles_of_the_demo() {
        let config = shipped();
        assert!(BACKENDS.iter().all(|name| port_of(&config, name) > 0));
        let auth = config.auth.expect("the shipped file signs in");
        assert!(
            USERS
                .iter()
                .all(|(_, _, role)| auth.roles.contains_key(*role))
        );
    }

    /// Of the route that a request takes under `/v1`, `/api/v1` and the short path, which must agree.
    fn is_limited_as_a_sign_in(table: &RouteTable, config: &Config, path: &str) -> bool {
        let short = path
            .strip_prefix("/v1")
            .filter(|rest| rest.starts_with("/auth"));
        let spellings = [
            Some(path.to_owned()),
            Some(format!("/api{path}")),
            short.map(str::to_owned),
        ];
        let mut limited = spellings.into_iter().flatten().map(|spelling| {
            let id = table
                .find("", &spelling, &Method::POST)
                .unwrap_or_else(|_| panic!("{spelling} is not routed"));
            let spends = &config.routes[id.index()].rate_limits;
            spends.iter().any(|spend| spend.limit.name == "sign_in")
        });
        let first = limited.next() == Some(true);
        assert!(
            limited.all(|other| other == first),
            "{path}: the spellings differ"
        );
        first
    }

    #[test]
    fn what_can_be_guessed_has_the_narrow_limit_and_what_a_session_needs_the_wide_one() {
        let config = shipped();
        let table = RouteTable::build(&config.routes);
        let narrow = "login login/mfa register signup password password/forgot password/reset email/verify \
                      email/resend mfa/totp mfa/totp/confirm mfa/recovery-codes providers/google providers/google/callback";
        for name in narrow.split_whitespace() {
            let path = format!("/v1/auth/{name}");
            assert!(is_limited_as_a_sign_in(&table, &config, &path), "{path}");
        }
        let wide = "auth/me auth/sessions auth/sessions/7 auth/refresh auth/logout users/me admin/users revocations";
        for name in wide.split_whitespace() {
            let path = format!("/v1/{name}");
            assert!(!is_limited_as_a_sign_in(&table, &config, &path), "{path}");
        }
    }
}

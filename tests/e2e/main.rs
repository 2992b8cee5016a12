//! The whole gateway: the real binary, met at its sockets and at its command line, a file a behaviour.
//!
//! One test binary for all of it, because linking costs more than running. Each test has its own gateway, directory and
//! ports (see `stage`), so that they can run side by side; nothing sleeps, what takes time is waited for with a deadline.

#[cfg(test)]
mod administration;
#[cfg(test)]
mod announced;
#[cfg(test)]
mod api_pages;
#[cfg(test)]
mod behind_a_proxy;
#[cfg(test)]
mod budgets;
#[cfg(test)]
mod certificates;
#[cfg(test)]
mod circuit_breaking;
#[cfg(test)]
mod command_line;
#[cfg(test)]
mod cors;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod departures;
#[cfg(test)]
mod endpoint_health;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod forced_breakers;
#[cfg(test)]
mod foreign_issuers;
#[cfg(test)]
mod grpc;
#[cfg(test)]
mod header_rules;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod hostile_bearer;
#[cfg(test)]
mod hostile_claims;
#[cfg(test)]
mod hostile_framing;
#[cfg(test)]
mod hostile_h2;
#[cfg(test)]
mod hostile_h2_heads;
#[cfg(test)]
mod hostile_sign_in;
#[cfg(test)]
mod hostile_targets;
#[cfg(test)]
mod hostile_tokens;
#[cfg(test)]
mod http2_bodies;
#[cfg(test)]
mod identity_provider;
#[cfg(test)]
mod in_flight;
#[cfg(test)]
mod issuer_stage;
#[cfg(test)]
mod jose_peers;
#[cfg(test)]
mod journey;
#[cfg(test)]
mod limit_keys;
#[cfg(test)]
mod mail;
#[cfg(test)]
mod moving;
#[cfg(test)]
mod oauth_client;
#[cfg(test)]
mod outliers;
#[cfg(test)]
mod passwords;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod provider_sign_in;
#[cfg(test)]
mod redirects;
#[cfg(test)]
mod registration;
#[cfg(test)]
mod rehearsing;
#[cfg(test)]
mod reload_stage;
#[cfg(test)]
mod reload_triggers;
#[cfg(test)]
mod reloading;
#[cfg(test)]
mod replicas;
#[cfg(test)]
mod retries;
#[cfg(test)]
mod revocation_feed;
#[cfg(test)]
mod revocation_notices;
#[cfg(test)]
mod route_guards;
#[cfg(test)]
mod schemathesis;
#[cfg(test)]
mod second_factors;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod session_failovers;
#[cfg(test)]
mod session_replicas;
#[cfg(test)]
mod session_stage;
#[cfg(test)]
mod session_stores;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod shadow;
#[cfg(test)]
mod shared_limits;
#[cfg(test)]
mod shared_limits_several;
#[cfg(test)]
mod shutdown;
#[cfg(test)]
mod sick_upstreams;
#[cfg(test)]
mod sign_in_floods;
#[cfg(test)]
mod sign_in_stage;
#[cfg(test)]
mod signing_clients;
#[cfg(test)]
mod signing_keys;
#[cfg(test)]
mod slow_clients;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod status;
#[cfg(test)]
mod streaming;
#[cfg(test)]
mod telling_collectors;
#[cfg(test)]
mod tenants;
#[cfg(test)]
mod tls_listeners;
#[cfg(test)]
mod tls_stage;
#[cfg(test)]
mod token_stage;
#[cfg(test)]
mod traces;
#[cfg(test)]
mod upstream_choice;
#[cfg(test)]
mod upstream_h2;
#[cfg(test)]
mod upstream_tls;
#[cfg(test)]
mod websockets;

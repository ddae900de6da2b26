//! Options for other modules: the configuration's plain numbers and addresses, converted to their types.

use crate::{
    config::{
        self, Config, IDENTITY_BYTES_MAX, NETWORKS_MAX, RATE_PER_SECOND, RATE_SLIP, RATE_WINDOW_SECONDS,
        SigningAlgorithm, Sizes, WITHOUT_COOKIE_OCTETS,
    },
    protocol::dns::{IDENTITY_OCTETS_MAX, UDP_PAYLOAD_OCTETS_MAX, dnssec::keys::Algorithm},
    server::{
        datagram::rate::{self, EXEMPT_NETWORKS_MAX, RateLimits},
        dns::{DnsLimits, encrypted::EncryptedAddresses},
    },
};

// The bounds of the configuration equal those of the modules.
const _: () = {
    assert!(IDENTITY_BYTES_MAX == IDENTITY_OCTETS_MAX);
    assert!(*WITHOUT_COOKIE_OCTETS.end() == UDP_PAYLOAD_OCTETS_MAX);
    assert!(NETWORKS_MAX == EXEMPT_NETWORKS_MAX);
    assert!(*RATE_PER_SECOND.end() == *rate::RESPONSES_PER_SECOND.end());
    assert!(*RATE_WINDOW_SECONDS.start() == *rate::WINDOW_SECONDS.start());
    assert!(*RATE_WINDOW_SECONDS.end() == *rate::WINDOW_SECONDS.end());
    assert!(*RATE_SLIP.end() == *rate::SLIP.end());
};

/// Limits of the DNS listeners.
pub(super) fn dns_limits(config: &Config) -> DnsLimits {
    let udp_workers = Sizes::here(config).dns_workers;
    let config = &config.dns;
    DnsLimits {
        udp_workers,
        rate: RateLimits {
            responses_per_second: config.rate_per_second,
            window_seconds: config.rate_window_seconds,
            slip: config.rate_slip,
            exempt: config.rate_exempt.clone(),
            ..RateLimits::default()
        },
        connections_per_network_max: config.connections_per_source_max,
        ..DnsLimits::default()
    }
}

/// Addresses of DNS over TLS, HTTPS and QUIC.
pub(super) fn encrypted_addresses(config: &Config) -> EncryptedAddresses {
    let config::Dns { tls, https, quic, .. } = config.dns;
    EncryptedAddresses { tls, https, quic }
}

/// Algorithm of the zone's signatures.
pub(super) fn algorithm(configured: SigningAlgorithm) -> Algorithm {
    match configured {
        SigningAlgorithm::EcdsaP256Sha256 => Algorithm::EcdsaP256Sha256,
        SigningAlgorithm::Ed25519 => Algorithm::Ed25519,
    }
}

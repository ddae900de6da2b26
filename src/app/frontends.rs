//! The front ends of a node and their limits.

use std::sync::Arc;

use super::{AppError, entropy, half, options};
use crate::{
    config::Config,
    protocol::dns::Responder,
    server::{
        admission::{Admission, AdmissionLimits, ClientNetworks},
        descriptors::Descriptors,
        dns::{DnsParts, DnsServer, encrypted::EncryptedAddresses},
        frontend::{Frontend, Services},
        grpc::{GRPC, GrpcLimits, GrpcServer},
        http::{HTTP, HttpFrontend, HttpLimits, Replicas},
        tls::Certificate,
    },
};

/// Parts that single front ends need beside the services.
pub(super) struct Special {
    /// Encodes DNS responses.
    pub(super) responder: Arc<Responder>,
    /// Replication endpoint for mirrors, over HTTP.
    pub(super) replicas: Replicas,
}

/// Starts all configured front ends and registers their metrics.
///
/// # Errors
///
/// [`AppError`] if an address cannot be bound, or the certificate cannot be used.
pub(super) async fn start(
    config: &Config,
    services: &Services,
    special: Special,
) -> Result<Vec<Box<dyn Frontend>>, AppError> {
    let Special { responder, replicas } = special;
    let mut started = vec![grpc(config, services).await?, dns(config, services, responder).await?];
    started.extend(http(config, services, replicas).await?);
    for frontend in &started {
        services.metrics.add(frontend.metrics());
    }
    Ok(started)
}

async fn grpc(config: &Config, services: &Services) -> Result<Box<dyn Frontend>, AppError> {
    let address = config.grpc.listen;
    let started = GrpcServer::start(address, GrpcLimits::default(), services).await;
    Ok(Box::new(started.map_err(|source| AppError::Listen { address, what: GRPC, source })?))
}

async fn dns(config: &Config, services: &Services, responder: Arc<Responder>) -> Result<Box<dyn Frontend>, AppError> {
    let admission = services.admission.clone();
    let parts = DnsParts { responder, limits: options::dns_limits(config), seed: half(entropy()()), admission };
    let mut started = DnsServer::start(&config.dns.listen, parts).await?;
    let encrypted = options::encrypted_addresses(config);
    if encrypted != EncryptedAddresses::default() {
        let certificate = Arc::new(certificate(config)?);
        started.listen_encrypted(encrypted, certificate).await?;
    }
    Ok(Box::new(started))
}

async fn http(config: &Config, services: &Services, replicas: Replicas) -> Result<Option<Box<dyn Frontend>>, AppError> {
    let Some(address) = config.http.listen else { return Ok(None) };
    let started = HttpFrontend::start(address, HttpLimits::default(), replicas, services).await;
    let started = started.map_err(|source| AppError::Listen { address, what: HTTP, source })?;
    Ok(Some(Box::new(started)))
}

/// Admission of connections, bounded by the file descriptors of the process.
pub(super) fn admission(config: &Config) -> Admission {
    let descriptors = Descriptors::current();
    let Descriptors { limit, kept_back, connections_max } = descriptors;
    tracing::info!(
        limit,
        kept_back,
        connections_max,
        "file descriptors: of all that there may be, some are kept back for files and other nodes; the rest is for connections"
    );
    if descriptors.are_scarce() {
        tracing::warn!(limit, "there are too few file descriptors to run well: raise the limit (`ulimit -n`)");
    }
    let clients = ClientNetworks { exempt: config.dns.rate_exempt.clone(), ..ClientNetworks::default() };
    Admission::new(AdmissionLimits { connections_max, clients, ..AdmissionLimits::default() })
}

/// The certificate of the encrypted listeners: from files, or self-signed at start.
fn certificate(config: &Config) -> Result<Certificate, AppError> {
    Ok(match config.dns.certificate_files() {
        Some([chain, key]) => Certificate::from_files(chain, key)?,
        None => Certificate::self_signed(&[config.zone.trim_end_matches('.').to_owned(), "localhost".into()])?,
    })
}

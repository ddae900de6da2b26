//! Wiring of a witness for other logs: its key, its state, its listener, the system's clock.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use super::{AppError, clock, entropy};
use crate::{
    server::{
        admission::{Admission, AdmissionLimits},
        descriptors::Descriptors,
        http::{HttpLimits, HttpServer, witness::routes},
    },
    tlog::note::VerifierKey,
    witness::{KeyFile, Witness},
};

/// Options of a witness.
#[derive(Clone, Debug)]
pub struct WitnessOptions {
    /// Address of the HTTP listener.
    pub listen: SocketAddr,
    /// Directory of the cosigned checkpoints.
    pub state: PathBuf,
    /// Path of the key file.
    pub key: PathBuf,
    /// Name for a new key.
    pub name: String,
    /// Verifier keys of the known logs.
    pub logs: Vec<VerifierKey>,
}

/// A running witness.
#[derive(Debug)]
pub struct WitnessNode {
    witness: Arc<Witness>,
    http: HttpServer,
}

impl WitnessNode {
    /// Opens key and state, and listens.
    ///
    /// # Errors
    ///
    /// [`AppError`].
    pub async fn start(options: WitnessOptions) -> Result<Self, AppError> {
        let WitnessOptions { listen, state, key, name, logs } = options;
        let key = KeyFile { path: &key, name: &name, seed: entropy()() };
        let witness = Arc::new(Witness::open(&state, key, logs)?);
        let clock = clock();
        let routes = routes(Arc::clone(&witness), Arc::new(move || clock() / 1_000));
        let connections_max = Descriptors::raise().connections_max;
        let admission = Admission::new(AdmissionLimits { connections_max, ..AdmissionLimits::default() });
        let http = HttpServer::start(listen, routes, HttpLimits::default(), &admission).await;
        let http = http.map_err(|source| AppError::Listen { address: listen, what: "HTTP", source })?;
        Ok(Self { witness, http })
    }

    /// Address of the HTTP listener.
    pub fn address(&self) -> SocketAddr {
        self.http.local_addr()
    }

    /// The witness itself.
    pub fn witness(&self) -> &Witness {
        &self.witness
    }

    /// Finishes the requests in progress, and stops.
    pub async fn stop(self) {
        self.http.shutdown().await;
    }
}

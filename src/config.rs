//! stub
use std::{net::SocketAddr, path::PathBuf};
/// Config.
#[derive(Clone, Debug)]
pub struct Config {
    /// x
    pub data: PathBuf,
    /// x
    pub zone: String,
    /// x
    pub origin: String,
    /// x
    pub dns: SocketAddr,
    /// x
    pub grpc: SocketAddr,
    /// x
    pub cache_bytes_max: usize,
    /// x
    pub index_cache_bytes_max: usize,
    /// x
    pub overlay_entries_max: usize,
    /// x
    pub log: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: "touchmark-data".into(),
            zone: "id.test.".into(),
            origin: "id.test/ledger".into(),
            dns: ([127, 0, 0, 1], 5300).into(),
            grpc: ([127, 0, 0, 1], 50051).into(),
            cache_bytes_max: 64 << 20,
            index_cache_bytes_max: 64 << 20,
            overlay_entries_max: 524_288,
            log: "info".into(),
        }
    }
}

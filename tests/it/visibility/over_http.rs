//! Readers over HTTP, on one persistent connection.

use std::{net::SocketAddr, sync::Arc};

use super::{
    Shared, Tally,
    stages::{SUBJECTS, Seen},
};

/// Asks for one record after another until the run is over.
pub fn read(server: SocketAddr, shared: &Arc<Shared>) -> Tally {
    let mut tally = Tally::of("HTTP");
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    for subject in (0..SUBJECTS).cycle().take_while(|_| !shared.is_over()) {
        let least = shared.least(subject);
        let mut reply = agent.get(format!("http://{server}/v1/records/{}", least.identifier())).call().unwrap();
        let (status, text) = (reply.status().as_u16(), reply.body_mut().read_to_string().unwrap());
        let seen = match status {
            404 => Seen::NotFound,
            410 => Seen::Retired,
            200 => {
                Seen::Version(text.split_once(r#""version":"#).unwrap().1.split(',').next().unwrap().parse().unwrap())
            }
            other => panic!("{other} {text}"),
        };
        tally.check(shared, least, seen);
    }
    tally
}

//! A flood of questions whose senders' addresses may be forged: what comes out is no more than went in.

use std::{
    net::{Ipv4Addr, UdpSocket},
    time::{Duration, Instant},
};

use cdn_core::{Counter, response_rate::ResponseRateOptions};
use hickory_proto::rr::RecordType;

use crate::world::{World, question, wait_until, with_edns, world_with};

/// Sends `questions` from each of `clients`, and returns bytes in and out.
fn flood(world: &World, clients: &[Ipv4Addr], questions: u64) -> (u64, u64) {
    // The worst that there is: a denial carries an SOA and is three times as long as its question.
    let message = with_edns(question("a.demo.test", RecordType::A)).to_vec().unwrap();
    let sockets: Vec<UdpSocket> = clients.iter().map(|client| UdpSocket::bind((*client, 0)).unwrap()).collect();
    let counters = world.handle.counters();
    let (mut bytes_in, mut bytes_out, mut asked) = (0, 0, counters.value(Counter::RouterDnsQueriesUdp));
    let mut buffer = [0; 2048];
    for _ in 0..questions {
        for socket in &sockets {
            socket.send_to(&message, world.dns).unwrap();
            bytes_in += message.len() as u64;
            asked += 1;
        }
        // No datagram may be lost for want of room, or the factor would be better than it is.
        wait_until("all are handled", || counters.value(Counter::RouterDnsQueriesUdp) == asked);
        for socket in &sockets {
            socket.set_nonblocking(true).unwrap();
            while let Ok(len) = socket.recv(&mut buffer) {
                bytes_out += len as u64;
            }
        }
    }
    // The last answers may still be on their way.
    for socket in &sockets {
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        while let Ok(len) = socket.recv(&mut buffer) {
            bytes_out += len as u64;
        }
    }
    (bytes_in, bytes_out)
}

#[test]
fn a_flood_in_a_victims_name_is_not_amplified() {
    let rate = ResponseRateOptions { network_per_s: 10, all_per_s: 0, slip: 2 };
    let world = world_with(|config| config.limits.response_rate = rate).healthy();
    let victims = [Ipv4Addr::new(127, 18, 1, 9), Ipv4Addr::new(127, 18, 1, 77)];
    let started = Instant::now();
    let (bytes_in, bytes_out) = flood(&world, &victims, 500);
    let factor = bytes_out as f64 / bytes_in as f64;
    // Each of the two workers has half of the rate, and lets through a second's worth at once.
    let whole = 10.0 * (1.0 + started.elapsed().as_secs_f64()) + 2.0;
    assert!(factor < 1.5 && bytes_out > 0, "{bytes_out} out for {bytes_in} in");
    let counters = world.handle.counters();
    let (dropped, truncated) =
        (counters.value(Counter::RouterDnsLimitedDropped), counters.value(Counter::RouterDnsLimitedTruncated));
    assert!(dropped.abs_diff(truncated) <= 2, "{dropped} {truncated}");
    assert!((1000 - dropped - truncated) as f64 <= whole, "{dropped} {truncated}");
}

#[test]
fn trusted_networks_and_others_than_the_victim_are_answered_all_the_same() {
    let rate = ResponseRateOptions { network_per_s: 10, all_per_s: 0, slip: 0 };
    let world = world_with(|config| config.limits.response_rate = rate).healthy();
    flood(&world, &[Ipv4Addr::new(127, 18, 1, 9)], 100);
    let dropped = world.handle.counters().value(Counter::RouterDnsLimitedDropped);
    assert!(dropped > 0);
    flood(&world, &[Ipv4Addr::LOCALHOST], 100);
    for client in [Ipv4Addr::new(127, 18, 2, 9), Ipv4Addr::new(127, 18, 3, 9)] {
        let message = question("www.demo.test", RecordType::A).to_vec().unwrap();
        assert!(world.udp(client, &message).is_some());
    }
    assert_eq!(world.handle.counters().value(Counter::RouterDnsLimitedDropped), dropped);
}

#[test]
fn a_flood_from_everywhere_is_held_by_the_rate_over_all() {
    let rate = ResponseRateOptions { network_per_s: 1000, all_per_s: 20, slip: 2 };
    let world = world_with(|config| config.limits.response_rate = rate).healthy();
    let clients: Vec<Ipv4Addr> = (0..100).map(|block| Ipv4Addr::new(127, 18, block, 9)).collect();
    let (bytes_in, bytes_out) = flood(&world, &clients, 10);
    assert!((bytes_out as f64) < 1.5 * bytes_in as f64 && bytes_out > 0, "{bytes_out} out for {bytes_in} in");
}

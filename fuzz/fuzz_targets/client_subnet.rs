//! The client subnet option: accepted exactly where RFC 7871, section 6, allows it in a query; then it comes back as it
//! was sent, with the scope.
#![no_main]

use std::net::IpAddr;

use hickory_proto::{
    rr::rdata::opt::ClientSubnet,
    serialize::binary::{BinDecodable, BinDecoder},
};
use libfuzzer_sys::fuzz_target;
use router::fuzzing::subnet;

/// The section's rules, one after the other and bit by bit.
fn is_allowed(data: &[u8]) -> bool {
    if data.len() < 4 {
        return false;
    }
    let (family, source_len, scope_len, address) =
        (u16::from_be_bytes([data[0], data[1]]), usize::from(data[2]), data[3], &data[4..]);
    let bits = match family {
        0 => 0,
        1 => 32,
        2 => 128,
        _ => return false,
    };
    let bit = |at: usize| address[at / 8] >> (7 - at % 8) & 1;
    scope_len == 0
        && source_len <= bits
        && address.len() == source_len / 8 + usize::from(source_len % 8 != 0)
        && (source_len..address.len() * 8).all(|at| bit(at) == 0)
}

fuzz_target!(|data: &[u8]| {
    let read = subnet(data, 17);
    assert_eq!(read.is_some(), is_allowed(data));
    let Some((address, echoed)) = read else { return };
    let mut expected = data.to_vec();
    expected[3] = 17;
    assert_eq!(echoed, expected);
    assert_eq!(address.is_none(), data[2] == 0, "only a length of 0 tells no address");
    if let Some(address) = address {
        let theirs = ClientSubnet::read(&mut BinDecoder::new(data)).expect("what is allowed can be read");
        assert_eq!((theirs.addr(), theirs.source_prefix()), (address, data[2]));
        assert_eq!(address.is_ipv4(), data[1] == 1);
        let octets = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        assert!(octets.starts_with(&data[4..]) && octets[data.len() - 4..].iter().all(|octet| *octet == 0));
    }
});

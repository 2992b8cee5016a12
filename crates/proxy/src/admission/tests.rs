//! The checks that need nothing but their arguments.

use super::*;

#[test]
fn a_denied_address_is_refused_even_where_it_is_allowed() {
    let network = |text: &str| text.parse().expect("a network");
    let lists = AddressLists {
        allow: vec![network("10.0.0.0/8")],
        deny: vec![network("10.1.0.0/16")],
    };
    let check = |address: &str| check_address(&lists, address.parse().expect("an address")).is_ok();
    assert!(check("10.2.0.1"));
    assert!(!check("10.1.0.1"), "deny wins over allow");
    assert!(
        !check("192.0.2.1"),
        "a list of allowed networks leaves the others out"
    );
}

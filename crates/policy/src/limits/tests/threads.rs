//! Many threads at once: what they are admitted between them is what one would be.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use super::*;

#[test]
fn threads_admit_exactly_the_burst_between_them() {
    let limiter = limiter();
    let (wide, narrow) = (
        limiter.plan(&per_user(rate(1, 3600), 3000)),
        limiter.plan(&per_ip(rate(1, 3600), 2000)),
    );
    let admitted = AtomicU64::new(0);
    thread::scope(|scope| {
        for turn in 0..8 {
            let (wide, narrow, admitted) = (&wide, &narrow, &admitted);
            scope.spawn(move || {
                let mut draws = [draw(wide, &user("saad"), 1), draw(narrow, &user("saad"), 1)];
                // Half of the threads name the limits the other way round, which must not lock them up.
                if turn % 2 == 0 {
                    draws.reverse();
                }
                for _ in 0..1000 {
                    admitted.fetch_add(u64::from(take(&draws, at(0)).is_ok()), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(admitted.into_inner(), 2000);
    assert_eq!(
        take_one(&wide, "saad", at(0)),
        Ok(999),
        "6000 refusals spent nothing on the limit that had enough"
    );
}

/// One request: from this address, by this user.
fn both<'p>(plans: &'p [LimitPlan; 2], address: u8, subject: &'static str) -> [Draw<'p>; 2] {
    let caller = Caller {
        address: IpAddr::from([192, 0, 2, address]),
        ..user(subject)
    };
    [draw(&plans[0], &caller, 1), draw(&plans[1], &caller, 1)]
}

/// Of five users behind two addresses each limit must find what was admitted, and nothing of what was refused.
#[test]
fn whatever_order_threads_come_in_a_stage_is_spent_whole_or_not_at_all() {
    const USERS: [&str; 5] = ["a", "b", "c", "d", "e"];
    const OF_A_USER: u64 = 40;
    const OF_AN_ADDRESS: u64 = 70;
    let limiter = limiter();
    let plans = [
        limiter.plan(&per_user(rate(1, 3600), OF_A_USER)),
        limiter.plan(&per_ip(rate(1, 3600), OF_AN_ADDRESS)),
    ];
    let by_user: [AtomicU64; 5] = Default::default();
    let by_address: [AtomicU64; 2] = Default::default();
    thread::scope(|scope| {
        for turn in 0..8usize {
            let (plans, by_user, by_address) = (&plans, &by_user, &by_address);
            scope.spawn(move || {
                for step in 0..300usize {
                    let (name, address) = ((step * 7 + turn) % 5, (step / 3 + turn) % 2);
                    let last = u8::try_from(address).expect("0 or 1");
                    let mut draws = both(plans, last, USERS[name]);
                    if turn % 2 == 0 {
                        draws.reverse();
                    }
                    if take(&draws, at(0)).is_ok() {
                        by_user[name].fetch_add(1, Ordering::Relaxed);
                        by_address[address].fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    for (name, admitted) in USERS.iter().zip(by_user) {
        let [of_user, _] = both(&plans, 0, name);
        check_spent(of_user, OF_A_USER, admitted.into_inner());
    }
    for (address, admitted) in [0, 1].into_iter().zip(by_address) {
        let [_, of_address] = both(&plans, address, "a");
        check_spent(of_address, OF_AN_ADDRESS, admitted.into_inner());
    }
}

fn check_spent(draw: Draw<'_>, burst: u64, admitted: u64) {
    let left = take(&[draw], at(0)).map(|standing| standing.expect("a draw").remaining + 1);
    assert_eq!(left.unwrap_or(0) + admitted, burst);
}

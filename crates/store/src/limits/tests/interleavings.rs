//! Leases under everything that can come between: calls and answers that are late, lost or in another order, gateways
//! that begin anew, clocks that run unlike. What is let through together keeps to the limit at every instant.

use std::collections::VecDeque;

use portcullis_policy::limits::{Lease, LeaseTold};
use proptest::prelude::*;

use super::{
    super::script::validity, Bucket, BucketTold, Cost, LeaseAsk, SharedDraw, Store, Wanted,
    draw_of, plan, ticks,
};

#[derive(Clone, Debug)]
enum Step {
    /// So many microseconds pass.
    Pass(u64),
    /// A gateway lets a request through from its lease, if there is enough in it.
    Spend(usize),
    /// As many as there is enough for.
    SpendAll(usize),
    /// A gateway asks so often for a request and for so many more, and nothing is late or lost.
    AskAtOnce(usize, u64, u64),
    /// A gateway asks for a request and for so many more.
    Ask(usize, u64),
    /// A gateway gives its lease back and forgets it.
    End(usize),
    /// The oldest (or the newest) call on its way arrives at the store.
    Arrive {
        newest: bool,
    },
    /// The oldest (or the newest) answer on its way arrives at its gateway.
    Answer {
        newest: bool,
    },
    LoseCall,
    LoseAnswer,
    /// A gateway is killed and begins anew.
    Restart(usize),
}

/// Few, so that each has to do with the other all the time.
const GATEWAYS: usize = 2;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let gateway = 0usize..GATEWAYS;
    let step = prop_oneof![
        3 => (0u64..300_000).prop_map(Step::Pass),
        2 => (300_000u64..1_500_000).prop_map(Step::Pass),
        1 => (1_500_000u64..2_500_000).prop_map(Step::Pass),
        3 => gateway.clone().prop_map(Step::Spend),
        4 => gateway.clone().prop_map(Step::SpendAll),
        6 => (gateway.clone(), 1u64..4, 0u64..20)
            .prop_map(|(gateway, times, more)| Step::AskAtOnce(gateway, times, more)),
        4 => (gateway.clone(), 0u64..8).prop_map(|(gateway, more)| Step::Ask(gateway, more)),
        1 => gateway.clone().prop_map(Step::End),
        5 => any::<bool>().prop_map(|newest| Step::Arrive { newest }),
        5 => any::<bool>().prop_map(|newest| Step::Answer { newest }),
        1 => Just(Step::LoseCall),
        1 => Just(Step::LoseAnswer),
        1 => gateway.prop_map(Step::Restart),
    ];
    prop::collection::vec(step, 1..80)
}

/// One gateway, with a clock of its own speed.
struct Gateway {
    name: String,
    lease: Lease,
    next_serial: u64,
    /// Of a thousand.
    speed: u64,
}

struct Call {
    gateway: usize,
    name: String,
    cost: u64,
    ask: LeaseAsk,
    asked_at: u64,
}

struct Run {
    store: Store,
    draw: SharedDraw,
    gateways: Vec<Gateway>,
    calls: VecDeque<Call>,
    answers: VecDeque<(Call, BucketTold)>,
    /// A bucket that knows everything: in ticks, when it is full again.
    full_at: u64,
    names: u64,
}

impl Run {
    fn local(&self, gateway: usize) -> u64 {
        let now = u64::try_from(self.store.now().as_nanos()).unwrap();
        now / 1000 * self.gateways[gateway].speed
    }

    /// A request that cost as much has passed now.
    fn passed(&mut self, cost: u64) {
        let now = ticks(u64::try_from(self.store.now().as_nanos()).unwrap());
        self.full_at = self.full_at.max(now) + cost;
        let missing = (self.full_at - now).saturating_sub(self.draw.tolerance);
        assert!(
            missing == 0,
            "{missing} ticks over the limit, and a request costs {}",
            self.draw.cost
        );
    }

    fn spend(&mut self, gateway: usize) -> bool {
        let (now, cost) = (self.local(gateway), self.draw.cost);
        let lease = &mut self.gateways[gateway].lease;
        let is_there = lease.reserve(cost, now);
        if is_there {
            lease.spend_reserved(cost);
            self.passed(cost);
        }
        is_there
    }

    fn send(&mut self, gateway: usize, cost: u64, wanted: Wanted) {
        let asked_at = self.local(gateway);
        let from = &self.gateways[gateway];
        let ask = LeaseAsk {
            serial: from.lease.serial(),
            spent: from.lease.spent(),
            wanted,
        };
        self.calls.push_back(Call {
            gateway,
            name: from.name.clone(),
            cost,
            ask,
            asked_at,
        });
    }

    fn begin_anew(&mut self, gateway: usize, name: Option<String>) {
        let gateway = &mut self.gateways[gateway];
        gateway.name = name.unwrap_or_else(|| gateway.name.clone());
        gateway.next_serial += 1;
        gateway.lease = Lease::new(gateway.next_serial);
    }

    fn arrive(&mut self, call: Call) {
        let bucket = Bucket {
            lease: call.ask,
            cost: Cost::Spend(call.cost),
            ..Bucket::of(&self.draw, 0)
        };
        let told = self.store.ask(&call.name, "first", &[bucket]).1[0];
        if call.cost > 0 && told.weighing.wait == 0 {
            self.passed(call.cost);
        }
        self.answers.push_back((call, told));
    }

    fn answer(&mut self, (call, told): (Call, BucketTold)) {
        let validity = validity(&self.draw);
        let gateway = &mut self.gateways[call.gateway];
        if gateway.name == call.name && gateway.lease.serial() == call.ask.serial {
            let told = LeaseTold {
                version: told.version,
                taken: told.taken,
                validity,
                weighing: told.weighing,
            };
            gateway.lease.told(&told, call.asked_at);
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Pass(micros) => self.store.go_on(micros),
            Step::Spend(gateway) => drop(self.spend(gateway)),
            Step::SpendAll(gateway) => while self.spend(gateway) {},
            Step::AskAtOnce(gateway, times, more) => {
                for _ in 0..times {
                    self.take(Step::Ask(gateway, more));
                    self.take(Step::Arrive { newest: true });
                    self.take(Step::Answer { newest: true });
                }
            }
            Step::Ask(gateway, more) => {
                let wanted = Wanted::More(more * self.draw.cost);
                self.send(gateway, self.draw.cost, wanted);
            }
            Step::End(gateway) => {
                self.send(gateway, 0, Wanted::End);
                self.begin_anew(gateway, None);
            }
            Step::Arrive { newest } => {
                let call = if newest {
                    self.calls.pop_back()
                } else {
                    self.calls.pop_front()
                };
                call.into_iter().for_each(|call| self.arrive(call));
            }
            Step::Answer { newest } => {
                let answer = if newest {
                    self.answers.pop_back()
                } else {
                    self.answers.pop_front()
                };
                answer.into_iter().for_each(|answer| self.answer(answer));
            }
            Step::LoseCall => drop(self.calls.pop_front()),
            Step::LoseAnswer => drop(self.answers.pop_front()),
            Step::Restart(gateway) => {
                self.names += 1;
                self.begin_anew(gateway, Some(format!("again{}", self.names)));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn leases_never_let_through_more_than_the_limit(
        burst in 1u64..30,
        per_ten_seconds in 1u64..150,
        speeds in prop::collection::vec(900u64..1100, GATEWAYS),
        steps in steps(),
    ) {
        let draw = draw_of(&plan(per_ten_seconds, 10, burst), 1);
        let gateways = speeds.iter().enumerate().map(|(index, speed)| Gateway {
            name: format!("gateway{index}"),
            lease: Lease::new(1),
            next_serial: 1,
            speed: *speed,
        });
        let mut run = Run {
            store: Store::open(15),
            draw,
            gateways: gateways.collect(),
            calls: VecDeque::new(),
            answers: VecDeque::new(),
            full_at: 0,
            names: 0,
        };
        for step in steps {
            run.take(step);
        }
    }
}

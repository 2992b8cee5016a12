//! The one family whose labels come and go: addresses that names resolve to.

use std::collections::HashSet;

use parking_lot::Mutex;
use prometheus::IntGaugeVec;

/// What was shown before and is no more loses its series, so that their number stays that of the endpoints there are.
pub(crate) struct EndpointGauges {
    family: IntGaugeVec,
    shown: Mutex<HashSet<[String; 2]>>,
}

impl EndpointGauges {
    /// `family` has the labels `upstream` and `endpoint`.
    pub(super) fn new(family: IntGaugeVec) -> Self {
        Self {
            family,
            shown: Mutex::default(),
        }
    }

    /// All endpoints there are: upstream, address, and whether requests go there.
    pub(crate) fn show(&self, endpoints: impl IntoIterator<Item = ([String; 2], bool)>) {
        let mut shown = self.shown.lock();
        let mut gone = std::mem::take(&mut *shown);
        for (labels, is_healthy) in endpoints {
            self.family
                .with_label_values(&labels)
                .set(i64::from(is_healthy));
            gone.remove(&labels);
            shown.insert(labels);
        }
        for labels in gone {
            // It was set above in an earlier call, so it is there.
            self.family.remove_label_values(&labels).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Opts, core::Collector};

    use super::*;

    #[test]
    fn an_endpoint_that_is_gone_has_no_series() {
        let family = IntGaugeVec::new(Opts::new("a", "b"), &["upstream", "endpoint"]).unwrap();
        let gauges = EndpointGauges::new(family.clone());
        let labels = |address: &str| ["hotel".to_owned(), address.to_owned()];
        gauges.show([(labels("a:1"), true), (labels("b:1"), false)]);
        gauges.show([(labels("b:1"), true), (labels("c:1"), true)]);
        let series = family.collect()[0].get_metric().len();
        assert_eq!(series, 2);
        assert_eq!(family.with_label_values(&labels("b:1")).get(), 1);
    }
}

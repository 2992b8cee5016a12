//! The hand on the breakers: an operator holds one open or closed, whatever it has seen.

use super::State;

/// As what a breaker is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forced {
    /// Every request is refused, before the upstream is taken down for work.
    Open,
    /// Every request is let through, where the breaker errs.
    Closed,
}

impl Forced {
    pub fn as_str(self) -> &'static str {
        self.state().as_str()
    }

    pub fn state(self) -> State {
        match self {
            Self::Open => State::Open,
            Self::Closed => State::Closed,
        }
    }
}

/// One breaker as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerView {
    pub upstream: String,
    pub state: State,
    pub forced: Option<Forced>,
}

/// For whoever may force breakers. The proxy owns them, the auth service asks for it, and neither knows the other.
pub trait BreakerSwitch: Send + Sync {
    /// Those of the configuration in force, in the order of their names.
    fn breakers(&self) -> Vec<BreakerView>;

    /// Holds a breaker, or leaves it to itself again. `None` where there is none for an upstream of that name.
    fn force(&self, upstream: &str, forced: Option<Forced>) -> Option<BreakerView>;
}

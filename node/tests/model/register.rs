//! What clients saw of the register that the members replicate, in the order in which they saw it, and whether any one
//! register could have shown it to them.

use ordeal_client::wire::NodeId;
use ordeal_node::raft::LogId;
use stateright::semantics::register::{Register as Model, RegisterOp, RegisterRet};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester};

use crate::member::Member;

/// The clients of one register, each with one operation.
#[derive(Debug, Clone, Default)]
pub struct Register {
    deeds: Vec<Deed>,
    /// Who waits where for which entry.
    awaited: Vec<(NodeId, LogId, u8)>,
    pub reads: u8,
}

/// What happened between a client and the members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// A command is a write of its own number.
    Writes(u8),
    Wrote(u8),
    Reads(u8),
    /// 0: nothing was written before.
    Read(u8, u8),
}

impl Register {
    /// Clients that did this already.
    pub fn after(deeds: &[Deed]) -> Register {
        Register { deeds: deeds.to_vec(), ..Register::default() }
    }

    /// How many reads have begun and how many were answered.
    pub fn answered(&self) -> usize {
        self.deeds.iter().filter(|deed| matches!(deed, Deed::Read(..))).count()
    }

    /// A client proposes.
    pub fn writes(&mut self, who: NodeId, id: LogId, command: u8) {
        self.deeds.push(Deed::Writes(command));
        self.awaited.push((who, id, command));
    }

    /// A client reads; the number is its token.
    pub fn asks(&mut self) -> u64 {
        self.reads += 1;
        self.deeds.push(Deed::Reads(self.reads));
        u64::from(self.reads)
    }

    /// Whoever waited there waits in vain.
    pub fn crashed(&mut self, who: NodeId) {
        self.awaited.retain(|(at, _, _)| *at != who);
    }

    /// A member applied and answered; false when no register answers like this.
    pub fn note(&mut self, member: &Member) -> bool {
        let before = self.deeds.len();
        for entry in &member.applied {
            let done = self.awaited.iter().position(|(at, id, _)| (*at, *id) == (member.id, entry.id));
            if let Some(place) = done {
                self.deeds.push(Deed::Wrote(self.awaited.remove(place).2));
            }
        }
        for &(token, seen) in &member.read {
            let number = u8::try_from(token).expect("reads are few");
            self.deeds.push(Deed::Read(number, seen));
        }
        self.deeds.len() == before || self.is_linearizable()
    }

    fn is_linearizable(&self) -> bool {
        let mut tester = LinearizabilityTester::new(Model(0));
        for deed in &self.deeds {
            let noted = match *deed {
                Deed::Writes(command) => tester.on_invoke((true, command), RegisterOp::Write(command)),
                Deed::Wrote(command) => tester.on_return((true, command), RegisterRet::WriteOk),
                Deed::Reads(number) => tester.on_invoke((false, number), RegisterOp::Read),
                Deed::Read(number, seen) => tester.on_return((false, number), RegisterRet::ReadOk(seen)),
            };
            assert!(noted.is_ok(), "a client has one operation");
        }
        tester.is_consistent()
    }
}

//! What Go's `net` does on Linux, over descriptors of the table. No system
//! call is made here but through `sys`, and no wait but through `fd::desc`.

pub mod activation;
pub mod bind;
pub mod connect;
pub mod control;
pub mod copy;
pub mod deadline;
pub mod dial;
pub mod failure;
pub mod group;
pub mod inspect;
pub mod listen;
pub mod lookup;
pub mod options;
pub mod packet;
mod pipes;
pub mod serve;
pub mod socket;
pub mod stream;
pub mod targets;
mod transfer;
pub mod unix;
mod zero_copy;

//! What must hold when things go wrong: processes killed, disks full or failing, files damaged, streams cut.

mod damage;
mod disk;
mod kill;
mod stream;

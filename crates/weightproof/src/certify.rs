//! Certification of batches: forward passes, a bound method for each perturbation set, verdicts.

use crate::network::Network;
use crate::property::Property;
use crate::threat::PerturbationSet;
use crate::verdict::{Precision, SampleCertificate, Samples};

/// How samples are certified.
#[derive(Clone, Debug, PartialEq)]
pub struct CertifyOptions {
    /// Name of an entry of the method table.
    pub method: String,
    /// What must hold.
    pub property: Property,
    /// Largest allowed deviation, for [`Property::Deviation`].
    pub tolerance: f64,
    /// Floating-point type of the bounds.
    pub precision: Precision,
    /// Samples in one block of work.
    pub block: usize,
}

/// Certifies batches of samples of one network against several perturbation sets.
pub struct Certifier<'n> {
    network: &'n Network,
    sets: Vec<PerturbationSet>,
    options: CertifyOptions,
}

impl<'n> Certifier<'n> {
    /// Casts the network and the sets once.
    ///
    /// # Errors
    /// When the method is unknown.
    pub fn new(
        network: &'n Network,
        sets: &[PerturbationSet],
        options: CertifyOptions,
    ) -> Result<Self, String> {
        Ok(Certifier { network, sets: sets.to_vec(), options })
    }

    /// One list of certificates for each set, in the order of the samples. Parallel over blocks on the current rayon
    /// pool; the result does not depend on the number of threads.
    pub fn certify(&self, samples: Samples<'_>) -> Vec<Vec<SampleCertificate>> {
        let _ = (self.network, &self.sets, &self.options, samples);
        unimplemented!()
    }
}

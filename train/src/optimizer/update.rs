//! Coefficients of one `RAdam` step (Liu et al., ICLR 2020) and their application to f32 slices.

use super::{BETA1, BETA2, EPS, Rate};

/// Coefficients of step `t`: `p = shrink * p - rate * m / (sqrt(v) + eps)` if `adaptive`, else `p = shrink * p - rate * m`.
#[derive(Clone, Copy)]
pub(super) struct Update {
    /// Decoupled weight decay, `1 - lr * decay`.
    pub(super) shrink: f64,
    /// True if the variance of the adaptive rate is tractable (`rho_t >= 5`).
    pub(super) adaptive: bool,
    /// Learning rate with bias correction and, if adaptive, the rectification `r_t`.
    pub(super) rate: f64,
}

impl Update {
    /// Computes the coefficients of step `step` (from 1 on).
    ///
    /// `rho_inf = 2 / (1 - beta2) - 1` and `rho_t = rho_inf - 2 t beta2^t / (1 - beta2^t)` are the maximum and the current length of
    /// the approximated simple moving average; `rectification` includes the bias correction `sqrt(1 - beta2^t)` of the second moment.
    pub(super) fn at(step: u64, rate: Rate) -> Self {
        let (c1, b2t) = (1.0 - BETA1.powi(step as i32), BETA2.powi(step as i32));
        let c2 = 1.0 - b2t;
        let rho_inf = 2.0 / (1.0 - BETA2) - 1.0;
        let rho = rho_inf - 2.0 * step as f64 * b2t / c2;
        let adaptive = rho >= 5.0;
        let rectification =
            if adaptive { (c2 * (rho - 4.0) / (rho_inf - 4.0) * (rho - 2.0) / rho * rho_inf / (rho_inf - 2.0)).sqrt() } else { 1.0 };
        Self { shrink: 1.0 - rate.lr * rate.decay, adaptive, rate: rate.lr * rectification / c1 }
    }

    /// Applies the step to parameters `p` with gradients `g`, first moments `m` and second moments `v`, which all have one length.
    #[inline(always)]
    pub(super) fn apply(&self, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        let (beta1, beta2) = (BETA1 as f32, BETA2 as f32);
        let (new1, new2) = (1.0 - beta1, 1.0 - beta2);
        // The decay is subtracted instead of multiplied in, because 1 - lr * decay is not representable near 1 in f32.
        let (decay, rate, eps) = ((1.0 - self.shrink) as f32, self.rate as f32, EPS as f32);
        let values = p.iter_mut().zip(g).zip(m.iter_mut().zip(v));
        if self.adaptive {
            for ((p, g), (m, v)) in values {
                *m = beta1 * *m + new1 * g;
                *v = beta2 * *v + new2 * (g * g);
                *p -= decay * *p + rate * *m / (v.sqrt() + eps);
            }
        } else {
            for ((p, g), (m, v)) in values {
                *m = beta1 * *m + new1 * g;
                *v = beta2 * *v + new2 * (g * g);
                *p -= decay * *p + rate * *m;
            }
        }
    }
}

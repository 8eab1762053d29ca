"""Constants of the package, typed a second time from the literature; tests hold the package's own against these."""

WSE2_S = {"a_nm": 0.332, "hopping_eV": 1.19, "broadening_eV": 0.1}  # the published one-orbital model (Luzny 2025)
TUNGSTEN = {"a_nm": 0.3165, "first_eV": 2.5, "second_eV": 2.0}  # the same model's tip
G0_nA_per_V = 77480.917  # 2 e^2/h, CODATA 2018
KAPPA_PER_SQRT_eV = 5.1232  # sqrt(2 m_e 1 eV)/hbar in 1/nm

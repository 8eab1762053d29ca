"""What tests hold the package against: constants typed a second time from the literature, and slow plain formulas."""

import math

import numpy as np

WSE2_S = {"a_nm": 0.332, "hopping_eV": 1.19, "broadening_eV": 0.1}  # the published one-orbital model (Luzny 2025)
TUNGSTEN = {"a_nm": 0.3165, "first_eV": 2.5, "second_eV": 2.0}  # the same model's tip
TUNGSTEN_SPD_eV = {  # Andersen's TB-LMTO two-centre W (LCAO_Spin_Dynamics): s, p, t2g, eg, then the bonds
    "onsite": {"s": 1.85, "p": 7.458, "t2g": 1.52, "eg": 0.894},
    "first": {"sss": -1.214, "sps": 1.449, "pps": 1.739, "ppp": -0.265, "sds": -1.353, "pds": -1.676, "pdp": 0.469}
    | {"dds": -1.704, "ddp": 0.821, "ddd": -0.084},
    "second": {"sss": -0.416, "sps": 0.54, "pps": 0.685, "ppp": -0.037, "sds": -0.572, "pds": -0.738, "pdp": 0.074}
    | {"dds": -0.781, "ddp": 0.16, "ddd": -0.009},
}
G0_nA_per_V = 77480.917  # 2 e^2/h, CODATA 2018
KAPPA_PER_SQRT_eV = 5.1232  # sqrt(2 m_e 1 eV)/hbar in 1/nm


def contour(low_eV, high_eV, sigma_eV):
    """Energies x_n + i pi sigma / 2, multiples of sigma to 4 sigma beyond [low, high]."""
    n = np.arange(math.floor(low_eV / sigma_eV) - 4, math.ceil(high_eV / sigma_eV) + 5)
    return n * sigma_eV + 0.5j * math.pi * sigma_eV


def contour_weights(z, at_eV, sigma_eV):
    """W_n(E) of rho(E) = Im sum_n W_n G(z_n): the trapezoidal rule along the shifted contour; exp(-pi^2) = 5e-5 off."""
    gauss = np.exp(-((at_eV - z[:, None]) ** 2) / (2 * sigma_eV**2)) / (math.sqrt(2 * math.pi) * sigma_eV)
    return -(sigma_eV / math.pi) * gauss


# (111) faces: neighbours nm, bottom of the band eV, mass, width at the bottom eV (Reinert et al. 2001; Echenique et al.
# 2004), half the Fermi wavelength and the height of a step in nm
METALS_111 = {
    "cu-111": (0.2556, -0.435, 0.412, 0.024, 1.45, 0.209),
    "ag-111": (0.2889, -0.063, 0.397, 0.006, 3.88, 0.236),
    "au-111": (0.2884, -0.487, 0.255, 0.018, 1.74, 0.2355),
}


def wave_number(mass, bottom_eV, at_eV, width_eV):
    """k = sqrt(2 m (E - E_0 + i Gamma / 2)) / hbar in 1/nm; hbar^2 / 2 m_e = 0.0380998 eV nm^2."""
    return np.sqrt(mass * (at_eV - bottom_eV + 0.5j * np.asarray(width_eV)) / 0.0380998)


# surfaces of units in rows: along a row, row from row, height of a step in nm, units per nm^2 (lattice constants of Si
# 0.5431, of Ge 0.5658; of rutile c 0.2959, a 0.4594)
ROWS = {
    "si001-h": (0.384, 0.768, 0.1358, 3.39),
    "ge001": (0.400, 0.800, 0.1414, 3.125),
    "tio2-110": (0.2959, 0.650, 0.325, 5.20),
}


def lattice_sum(kappa, period_x, period_y, lobes, at):
    """Sum over a lattice of lobes (x, y, z, share) of exp(-2 kappa |d|): Fourier components (1 + q z) exp(-q z) / q^3,
    q = sqrt(4 kappa^2 + G^2), times 4 pi kappa over the cell's area; at points (n, 3)."""
    n = np.arange(-6, 7)
    gx, gy = (g.ravel() for g in np.meshgrid(2 * np.pi * n / period_x, 2 * np.pi * n / period_y))
    q = np.sqrt(4 * kappa**2 + gx**2 + gy**2)
    total = np.zeros(len(at))
    for x, y, z, share in lobes:
        right, up, gap = (at - (x, y, z)).T
        waves = np.cos(np.outer(right, gx) + np.outer(up, gy))
        fall = (1 + np.outer(gap, q)) * np.exp(-np.outer(gap, q)) / q**3
        total += share * 4 * np.pi * kappa / (period_x * period_y) * (waves * fall).sum(axis=1)
    return total


# S. Fang et al., Phys. Rev. B 92, 205108 (2015), as listed beside its figures: MoS2, MoSe2, WS2, WSe2.
# e: on-site; t1: along (a, 0); t5: from X to the metal at (0, a/sqrt3); t6: to that at (0, -2a/sqrt3).
FANG_NAMES = ("mos2", "mose2", "ws2", "wse2")
FANG_LATTICE_nm = (0.31824, 0.33174, 0.31817, 0.33155)
FANG_K_GAP_eV = (1.808, 1.568, 1.956, 1.666)
FANG_GAMMA_ABOVE_K_eV = (0.096, -0.164, -0.050, -0.316)
FANG_eV = {
    name: [float(number) for number in numbers]
    for name, *numbers in (
        line.split()
        for line in """
        e1 1.0688 .78192 1.3754 1.0349
        e3 -.77546 -.65672 -1.1278 -.95728
        e4 -1.2902 -1.1726 -1.5534 -1.3937
        e6 -.138 -.22974 -.039259 -.16674
        e7 .08738 .014947 .19844 .098437
        e9 -2.8949 -2.9015 -3.3706 -3.3642
        e10 -1.9065 -1.7806 -2.3461 -2.182
        t1:1,1 -.2069 -.14602 -.20109 -.13951
        t1:2,2 .032345 .017738 .026255 .012861
        t1:3,3 -.17385 -.21122 -.17491 -.21706
        t1:4,4 .86513 .9638 .87261 .97629
        t1:5,5 -.18725 -.17242 -.21869 -.19847
        t1:6,6 -.29791 -.26363 -.37161 -.33299
        t1:7,7 .2747 .25053 .35371 .31903
        t1:8,8 -.55809 -.47341 -.68916 -.58366
        t1:9,9 -.19158 -.2166 -.2112 -.23985
        t1:10,10 .91215 .99107 .96733 1.047
        t1:11,11 .0058631 -.0036331 .014269 .0029342
        t1:3,5 -.067891 -.07347 -.081777 -.091183
        t1:6,8 .40961 .35202 .48965 .42334
        t1:9,11 .007516 .0047333 -.031484 -.037681
        t1:1,2 -.25616 -.19118 -.31058 -.2321
        t1:3,4 -.099527 -.075456 -.11054 -.079716
        t1:4,5 -.070508 -.068039 -.098891 -.09203
        t1:6,7 -.1145 -.096031 -.14665 -.12498
        t1:7,8 -.24872 -.20118 -.30304 -.24558
        t1:9,10 .10626 .12163 .16454 .18574
        t1:10,11 -.038544 -.039403 -.10178 -.10266
        t5:4,1 -.7883 -.69463 -.88549 -.77438
        t5:3,2 -1.379 -1.3258 -1.4376 -1.4014
        t5:5,2 2.1584 1.9415 2.3121 2.0858
        t5:9,6 -.88356 -.77195 -1.013 -.8998
        t5:11,6 -.94019 -.87375 -.98778 -.90437
        t5:10,7 1.4114 1.2677 1.5629 1.403
        t5:9,8 -.95348 -.85776 -.94906 -.8548
        t5:11,8 .65168 .55453 .67181 .57113
        t6:9,6 -.068597 -.069127 -.065943 -.067618
        t6:11,6 -.14979 -.15531 -.15333 -.16076
        t6:9,8 -.22048 -.2227 -.26184 -.26179
        t6:11,8 -.24507 -.21537 -.27364 -.24244
        """.strip().splitlines()
    )
}
GRAPHENE_v_F_m_per_s = 0.874e6  # at t = 2.7 eV, a = 0.246 nm
# Reich et al., PRB 66, 035412, optical range: own level, then first, second and third neighbours
GRAPHENE_FAR = {"hops_eV": (-0.28, -2.97, -0.073, -0.33), "overlaps": (1.0, 0.073, 0.018, 0.026)}
SPIN_ORBIT_eV = {"S": 0.0556, "Se": 0.2470, "Mo": 0.0836, "W": 0.2874}  # lambda of lambda L.S, Fang et al.
K_SPLITTING_eV = (0.148, 0.184, 0.430, 0.466)  # valence band at K, first principles, of FANG_NAMES

# G.-B. Liu et al., Phys. Rev. B 88, 085433 (2013), GGA: nearest neighbours, third neighbours
LIU_eV = {
    order: {
        line.split()[0]: dict(zip(names.split(), map(float, line.split()[1:]), strict=True))
        for line in lines.strip().splitlines()
    }
    for order, names, lines in (
        (
            "NN",
            "e1 e2 t0 t1 t2 t11 t12 t22 lambda",
            """
            mos2 1.046 2.104 -.184 .401 .507 .218 .338 .057 .073
            ws2 1.130 2.275 -.206 .567 .536 .286 .384 -.061 .211
            mose2 .919 2.065 -.188 .317 .456 .211 .290 .130 .091
            wse2 .943 2.179 -.207 .457 .486 .263 .329 .034 .228
            """,
        ),
        (
            "TNN",
            "e1 e2 t0 t1 t2 t11 t12 t22 r0 r1 r2 r11 r12 u0 u1 u2 u11 u12 u22",
            """
            mos2 .683 1.707 -.146 -.114 .506 .085 .162 .073 .060 -.236 .067 .016 .087 -.038 .046 .001 .266 -.176 -.150
            ws2 .717 1.916 -.152 -.097 .590 .047 .178 .016 .069 -.261 .107 -.003 .109 -.054 .045 .002 .325 -.206 -.163
            mose2 .684 1.546 -.146 -.130 .432 .144 .117 .075 .039 -.209 .069 .052 .060 -.042 .036 .008 .272 -.172 -.150
            wse2 .728 1.655 -.146 -.124 .507 .117 .127 .015 .036 -.234 .107 .044 .075 -.061 .032 .007 .329 -.202 -.164
            """,
        ),
    )
}
LIU_K_GAP_eV = {
    "NN": {"mos2": 1.663, "ws2": 1.806, "mose2": 1.436, "wse2": 1.540},
    "TNN": {"mos2": 1.658, "ws2": 1.806, "mose2": 1.429, "wse2": 1.541},
}
LIU_K_SPLITTING_eV = {"mos2": 0.146, "ws2": 0.422, "mose2": 0.182, "wse2": 0.456}

# Two-centre equivalents of P. Vogl et al., J. Phys. Chem. Solids 44, 365 (1983), silicon; t: s*
VOGL_SILICON_eV = {"sss": -2.075, "sps": 2.481, "pps": 2.716, "ppp": -0.715, "tps": 2.327}

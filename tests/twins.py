"""Slow, plain versions of the kernels: loops, float64, no cleverness."""

from __future__ import annotations

import math

import numpy as np


def lagrange_weight(t, node, nodes=(-1, 0, 1, 2)):
    """The Lagrange polynomial of one node at t."""
    weight = 1.0
    for other in nodes:
        if other != node:
            weight *= (t - other) / (node - other)
    return weight


def height_polynomial(field, x_nm, y_nm):
    """The field's height polynomial at one point: 4 x 4 Lagrange."""
    u, v = np.linalg.solve(field.steps_nm.T, np.array([x_nm, y_nm]) - field.origin_nm)
    iu, iv = math.floor(u), math.floor(v)
    polynomial = np.zeros(field.coefficients.shape[2])
    for j in (-1, 0, 1, 2):
        for i in (-1, 0, 1, 2):
            weight = lagrange_weight(u - iu, i) * lagrange_weight(v - iv, j)
            polynomial += weight * field.coefficients[iv + j, iu + i].astype(float)
    return polynomial


def log_current(field, x_nm, y_nm, gap_nm):
    """ln|I| at one point: the polynomial in s, the tangent of the nearest edge outside [-1, 1]."""
    c = height_polynomial(field, x_nm, y_nm)
    s = (gap_nm - field.z_mid_nm) / field.z_half_nm
    if abs(s) <= 1:
        return sum(c[k] * s**k for k in range(len(c)))
    edge = math.copysign(1.0, s)
    value = sum(c[k] * edge**k for k in range(len(c)))
    slope = sum(k * c[k] * edge ** (k - 1) for k in range(1, len(c)))
    return value + slope * (s - edge)


def hysteresis(h, dv, a, b, c, steps=200):
    """H after V moved by dv: RK4 on dH/dV = A - B sign(dV) H - C |H|."""

    def slope(h):
        return a - b * math.copysign(1.0, dv) * h - c * abs(h)

    d = dv / steps
    for _ in range(steps):
        k1 = slope(h)
        k2 = slope(h + d / 2 * k1)
        k3 = slope(h + d / 2 * k2)
        k4 = slope(h + d * k3)
        h += d / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return h


class Controller:
    """PID on the log current behind its limits, and a Bouc-Wen piezo."""

    def __init__(self, feedback, piezo, *, start_nm, integral_nm, max_move_nm, steps):
        self.feedback, self.piezo, self.start_nm, self.max_move_nm, self.steps = (
            feedback,
            piezo,
            start_nm,
            max_move_nm,
            steps,
        )
        self.ki = integral_nm
        self.kp, self.kd = feedback.proportional * integral_nm, feedback.derivative * integral_nm
        self.z, self.h, self.total, self.last, self.limited = start_nm, 0.0, 0.0, 0.0, 0

    def tip(self):
        return self.start_nm + self.piezo.gain * ((self.z - self.start_nm) - self.piezo.stroke_nm * self.h)

    def update(self, error, plane):
        self.total += error
        move = self.kp * error + self.kd * (error - self.last)
        target, self.limited = self.start_nm + move + self.ki * self.total, 0
        if abs(target - self.z) > self.max_move_nm:
            target, self.limited = self.z + math.copysign(self.max_move_nm, target - self.z), 2
        lowest, highest = plane + self.feedback.z_min_nm, plane + self.feedback.z_max_nm
        if not lowest <= target <= highest:
            target, self.limited = min(max(target, lowest), highest), self.limited | 1
        if self.limited:
            self.total = (target - self.start_nm - move) / self.ki
        p = self.piezo
        self.h = hysteresis(self.h, (target - self.z) / p.stroke_nm, p.A, p.B, p.C, self.steps)
        self.z, self.last = target, error


def swung(tip, speed, place, resonance, step_s, steps=400):
    """The tip and its speed after a sub-step over an oscillator's resting place: RK4."""
    omega = 2 * math.pi * resonance.frequency_Hz
    d = step_s / steps

    def rate(state):
        return np.array([state[1], -omega / resonance.Q * state[1] - omega**2 * (state[0] - place)])

    state = np.array([tip, speed])
    for _ in range(steps):
        k1 = rate(state)
        k2 = rate(state + d / 2 * k1)
        k3 = rate(state + d / 2 * k2)
        state = state + d / 6 * (k1 + 2 * k2 + 2 * k3 + rate(state + d * k3))
    return state


def scan(field, path, controller, *, log_setpoint, per_update, memory, resonance=None, linear=False):
    """Topography, current, events in time, each (n_lines, 2, n_pixels): a noiseless loop, sub-step by sub-step."""
    x, y = path.sub_steps()
    n_sub, n = path.n_sub, path.raster.pixels
    heard, amplifier = [], log_setpoint
    shape = (n + 1, 2, n, n_sub)
    tip, speed = controller.tip(), 0.0
    topography, current, events = np.empty(shape), np.empty(shape), np.zeros(shape, int)
    for step in np.ndindex(shape):
        line, way, pixel, sub = step
        at = (line, way, pixel * n_sub + sub)
        start, end = path.floor_nm[line, way, pixel : pixel + 2]
        plane = start + (sub + 0.5) / n_sub * (end - start)
        if resonance is None:
            tip = controller.tip()
        else:
            tip, speed = swung(tip, speed, controller.tip(), resonance, path.sub_step_s)
        gap = (tip - plane) * path.cos_tilt
        now = log_current(field, x[at], y[at], gap)
        now = log_setpoint + math.exp(now) / math.exp(log_setpoint) - 1 if linear else now
        amplifier = memory * amplifier + (1 - memory) * now
        heard_nA = math.exp(log_setpoint) * (1 + amplifier - log_setpoint) if linear else math.exp(amplifier)
        topography[step], current[step] = controller.z, heard_nA
        events[step] = controller.limited | (4 if abs(gap - field.z_mid_nm) > field.z_half_nm else 0)
        heard.append(amplifier)
        if len(heard) == per_update:
            controller.update(sum(heard) / per_update - log_setpoint, plane)
            heard = []
    return topography[1:].mean(-1), current[1:].mean(-1), np.bitwise_or.reduce(events[1:], axis=-1)

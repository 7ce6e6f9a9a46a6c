"""Influential training images: which pictures taught a diffusion model a style, or a subject?"""

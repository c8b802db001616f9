# ruff: noqa: E501
# SPDX-License-Identifier: GPL-3.0-or-later
"""
@article{sanchezgarcia2020,
  title = {MicrographCleaner: A python package for cryo-EM micrograph cleaning using deep learning},
  author = {Sanchez-Garcia, Ruben and Segura, Joan and Maluenda, David and Sorzano, Carlos Oscar S. and Carazo, Jose Maria},
  journal = {Journal of Structural Biology},
  volume = {210},
  number = {3},
  pages = {107498},
  year = {2020},
  doi = {https://doi.org/10.1016/j.jsb.2020.107498}
}
@misc{micscreen,
  title = {micscreen: screening of cryo-EM micrographs and of the particles picked on them},
  author = {{The micscreen authors}},
  year = {2026}
}
"""

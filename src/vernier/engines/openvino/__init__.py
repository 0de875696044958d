"""OpenVINO: conversion of torch modules, and their execution on the CPU."""

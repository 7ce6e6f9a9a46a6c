"""datainf in the interfaces of other libraries: Captum's and quanda's. Each is an optional extra."""

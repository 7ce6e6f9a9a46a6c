"""datainf in the interfaces of other libraries, Captum's and quanda's; each is an optional extra."""

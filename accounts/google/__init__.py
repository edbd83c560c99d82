"""Sign-in by Google, for registered addresses only.

A Google account is known by its issuer and ``sub``, never by its e-mail address. A link
between a person and a Google account comes about in two ways: from a session that is
signed in already, or at the first sign-in with an address that an administrator has
registered by ``users google-add``. That a person has the same address links nothing.
"""

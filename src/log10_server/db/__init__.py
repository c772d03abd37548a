"""Access to the database: engines, transactions, statements, bulk SQL, the writer and migrations.

Nothing here knows what the tables hold; that is in `store`.
"""
